/**
 * Real power cuts on real file systems: mail is delivered by many callers onto a disk with a volatile
 * write cache, and the recording of it is cut. The long run is `npm run powercut`.
 */
import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import {
  type FileSystemName,
  fileSystems,
  ignoringFlushes,
  missing,
} from "../support/recorded-disk/index.ts";
import { journalOf } from "./methods.ts";
import { chooseBusyCuts, chooseCuts, cutPower, cutRecovery } from "./power-cut.ts";
import { type LoadPlan, type Run, recordRun } from "./record-run.ts";
import { broken, tally } from "./report.ts";

const seed = 20_26;
const messages = 192;

type Plan = Pick<LoadPlan, "method" | "callers" | "isKilled"> & { readonly together?: number };

async function recorded(fileSystem: FileSystemName, plan: Plan): Promise<Run> {
  return recordRun(fileSystem, { seed, messages, together: 1, ...plan });
}

/** Cuts a run ten times; returns the run. */
async function nothingIsLost(
  t: TestContext,
  fileSystem: FileSystemName,
  plan: Plan,
): Promise<Run | undefined> {
  const lack = missing(fileSystem);
  if (lack !== undefined) {
    t.skip(lack);
    return undefined;
  }
  const run = await recorded(fileSystem, plan);
  const results = await cutPower(run, chooseCuts(run, 10, seed));
  assert.deepEqual(broken(run, results), []);
  const { checked, recovered, revivedEarly } = tally(results);
  assert.ok(checked > messages, "the cuts lie where mail had been acknowledged");
  if (journalOf(plan.method) !== undefined) {
    assert.ok(recovered > 0, "and some of it was not in its mailbox yet");
  }
  t.diagnostic(
    `${checked} looked for, ${recovered} recovered, ${revivedEarly} early deletes undone`,
  );
  return run;
}

for (const fileSystem of fileSystems) {
  test(`${fileSystem}: no power cut loses or damages mail the server answered with 250`, async (t) => {
    await nothingIsLost(t, fileSystem, { method: "server", callers: 16 });
  });

  test(`${fileSystem}: nor mail the executor resolved, with a reader at work`, async (t) => {
    const run = await nothingIsLost(t, fileSystem, { method: "executor", callers: 32 });
    if (run === undefined) return;
    await t.test("while a disk that only claims to flush loses it", async () => {
      const recordings = run.recordings.map((one) => ignoringFlushes(one, run.startedNs));
      const lying = { ...run, recordings };
      const cuts = chooseCuts(run, 5, seed);
      const { lost, damaged } = tally(await cutPower(lying, cuts));
      assert.ok(lost + damaged > 0);
    });
  });

  test(`${fileSystem}: nor mail of a batch whose files were flushed one by one`, async (t) => {
    const method = "maildir, each file flushed";
    await nothingIsLost(t, fileSystem, { method, callers: 4, together: 8 });
  });

  test(`${fileSystem}: nor mail of a batch flushed with its whole file system`, async (t) => {
    const method = "maildir, file system flushed";
    await nothingIsLost(t, fileSystem, { method, callers: 4, together: 8 });
  });

  test(`${fileSystem}: nor mail in the journal of a server that answered with 250`, async (t) => {
    await nothingIsLost(t, fileSystem, { method: "server, journal", callers: 16 });
  });

  test(`${fileSystem}: nor mail in the journal, once recovered, and the reader's deeds last`, async (t) => {
    await nothingIsLost(t, fileSystem, { method: "journal", callers: 32 });
  });

  test(`${fileSystem}: nor in a journal whose process was killed and started again before`, async (t) => {
    await nothingIsLost(t, fileSystem, { method: "journal", callers: 32, isKilled: true });
  });

  test(`${fileSystem}: nor in a journal on another disk`, async (t) => {
    await nothingIsLost(t, fileSystem, { method: "journal on another disk", callers: 32 });
  });

  test(`${fileSystem}: nor when the power fails again during recovery`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    const run = await recorded(fileSystem, { method: "journal", callers: 32 });
    const recoveries = await cutRecovery(run, chooseBusyCuts(run, 2, seed), 5);
    for (const { run: recovery, results } of recoveries) {
      assert.deepEqual(broken(recovery, results), []);
    }
    const { checked, cuts } = tally(recoveries.flatMap(({ results }) => results));
    assert.equal(cuts, 10);
    assert.ok(checked > 0, "the cuts lie where mail had been acknowledged");
  });
}
