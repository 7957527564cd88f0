/**
 * Real power cuts on real file systems: mail is delivered by many callers onto a disk with a
 * volatile write cache, and the recording of it is cut. The long run is `npm run powercut`.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  type FileSystemName,
  fileSystems,
  ignoringFlushes,
  missing,
} from "../../support/recorded-disk/index.ts";
import { chooseBusyCuts, chooseCuts, cutPower, cutRecovery } from "./power-cut.ts";
import { type LoadPlan, type Run, recordRun } from "./record-run.ts";
import { broken, tally } from "./report.ts";

const seed = 20_26;
const messages = 192;

type Plan = Pick<LoadPlan, "method" | "callers" | "isKilled"> & { readonly together?: number };

function recorded(fileSystem: FileSystemName, plan: Plan): Promise<Run> {
  return recordRun(fileSystem, { seed, messages, together: 1, ...plan });
}

/** Cuts a new run so many times; resolves with it. */
async function nothingIsLost(
  t: TestContext,
  fileSystem: FileSystemName,
  plan: Plan,
  cuts: number,
): Promise<Run> {
  const run = await recorded(fileSystem, plan);
  const results = await cutPower(run, chooseCuts(run, cuts, seed));
  assert.deepEqual(broken(run, results), []);
  const { checked, recovered, revivedEarly } = tally(results);
  assert.ok(checked > messages / 2, "the cuts lie where mail had been acknowledged");
  if (plan.isKilled) assert.ok(recovered > 0, "and some of it was not in its mailbox yet");
  t.diagnostic(
    `${checked} looked for, ${recovered} recovered, ${revivedEarly} early deletes undone`,
  );
  return run;
}

for (const fileSystem of fileSystems) {
  const lack = missing(fileSystem);
  const claim = (name: string, prove: (t: TestContext) => Promise<unknown>) =>
    test(`${fileSystem}: ${name}`, async (t) => {
      if (lack !== undefined) return t.skip(lack);
      await prove(t);
    });

  claim("no power cut loses or damages mail the server answered with 250", (t) =>
    nothingIsLost(t, fileSystem, { method: "server", callers: 16 }, 5),
  );

  claim("nor mail the executor resolved, with a reader at work", async (t) => {
    const run = await nothingIsLost(t, fileSystem, { method: "executor", callers: 32 }, 10);
    await t.test("while a disk that only claims to flush loses it", async () => {
      const recordings = run.recordings.map((one) => ignoringFlushes(one, run.startedNs));
      const lying = { ...run, recordings };
      const { lost, damaged } = tally(await cutPower(lying, chooseCuts(run, 5, seed)));
      assert.ok(lost + damaged > 0);
    });
  });

  claim("nor mail of a batch whose files were flushed one by one", (t) => {
    const method = "maildir, each file flushed";
    return nothingIsLost(t, fileSystem, { method, callers: 4, together: 8 }, 5);
  });

  claim("nor mail of a batch flushed with its whole file system", (t) => {
    const method = "maildir, file system flushed";
    return nothingIsLost(t, fileSystem, { method, callers: 4, together: 8 }, 5);
  });

  claim("nor mail in the journal of a server that answered with 250", (t) =>
    nothingIsLost(t, fileSystem, { method: "server, journal", callers: 16 }, 5),
  );

  claim("nor mail in a journal whose process was killed and started again before", (t) =>
    nothingIsLost(t, fileSystem, { method: "journal", callers: 32, isKilled: true }, 10),
  );

  claim("nor mail in a journal on another disk", (t) =>
    nothingIsLost(t, fileSystem, { method: "journal on another disk", callers: 32 }, 5),
  );

  claim("nor mail in a journal when the power fails again during recovery", async () => {
    const run = await recorded(fileSystem, { method: "journal", callers: 32 });
    const recoveries = await cutRecovery(run, chooseBusyCuts(run, 2, seed), 3);
    for (const { run: recovery, results } of recoveries) {
      assert.deepEqual(broken(recovery, results), []);
    }
    const { checked, recovered } = tally(recoveries.flatMap(({ results }) => results));
    assert.ok(checked > 0, "the cuts lie where mail had been acknowledged");
    assert.ok(recovered > 0, "and some of it was still to be recovered");
  });
}
