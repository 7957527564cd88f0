/**
 * Real power cuts on real file systems: many callers deliver mail onto a disk with a volatile write
 * cache, and the recording of its writes is cut. Needs root and loop devices. The long run is `npm
 * run powercut`.
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

/** Cuts a new run `cuts` times and requires that no promise is broken; resolves with the run. */
async function assertNothingLost(
  t: TestContext,
  fileSystem: FileSystemName,
  plan: Plan,
  cuts: number,
): Promise<Run> {
  const run = await recorded(fileSystem, plan);
  const results = await cutPower(run, chooseCuts(run, cuts, seed));
  assert.deepEqual(broken(run, results), []);
  const { checked, recovered, revivedEarly } = tally(results);
  assert.ok(checked > messages / 2, "the cuts come after acknowledgements");
  if (plan.isKilled) assert.ok(recovered > 0, "some acknowledged mail was not published yet");
  t.diagnostic(`${checked} checked, ${recovered} recovered, ${revivedEarly} early deletes undone`);
  return run;
}

for (const fileSystem of fileSystems) {
  const lack = missing(fileSystem);
  const claim = (name: string, prove: (t: TestContext) => Promise<unknown>) =>
    test(`${fileSystem}: ${name}`, async (t) => {
      if (lack !== undefined) return t.skip(lack);
      await prove(t);
    });

  claim("no cut loses or damages mail that the server answered with 250", (t) =>
    assertNothingLost(t, fileSystem, { method: "server", callers: 16 }, 5),
  );

  claim("no cut loses mail of the executor, while a reader moves and deletes", async (t) => {
    const run = await assertNothingLost(t, fileSystem, { method: "executor", callers: 32 }, 10);
    await t.test("a disk that only claims to flush loses some", async () => {
      const recordings = run.recordings.map((one) => ignoringFlushes(one, run.startedNs));
      const lying = { ...run, recordings };
      const { lost, damaged } = tally(await cutPower(lying, chooseCuts(run, 5, seed)));
      assert.ok(lost + damaged > 0);
    });
  });

  claim("no cut loses mail of a batch flushed file by file", (t) => {
    const method = "maildir, each file flushed";
    return assertNothingLost(t, fileSystem, { method, callers: 4, together: 8 }, 5);
  });

  claim("no cut loses mail of a batch flushed with its whole file system", (t) => {
    const method = "maildir, file system flushed";
    return assertNothingLost(t, fileSystem, { method, callers: 4, together: 8 }, 5);
  });

  claim("no cut loses mail in the journal of a server that answered with 250", (t) =>
    assertNothingLost(t, fileSystem, { method: "server, journal", callers: 16 }, 5),
  );

  claim("no cut loses mail in a journal after its process was killed and restarted", (t) =>
    assertNothingLost(t, fileSystem, { method: "journal", callers: 32, isKilled: true }, 10),
  );

  claim("no cut loses mail in a journal on another disk", (t) =>
    assertNothingLost(t, fileSystem, { method: "journal on another disk", callers: 32 }, 5),
  );

  claim("no second cut during recovery loses mail in a journal", async () => {
    const run = await recorded(fileSystem, { method: "journal", callers: 32 });
    const recoveries = await cutRecovery(run, chooseBusyCuts(run, 2, seed), 3);
    for (const { run: recovery, results } of recoveries) {
      assert.deepEqual(broken(recovery, results), []);
    }
    const { checked, recovered } = tally(recoveries.flatMap(({ results }) => results));
    assert.ok(checked > 0, "the cuts come after acknowledgements");
    assert.ok(recovered > 0, "some acknowledged mail was still to be recovered");
  });
}
