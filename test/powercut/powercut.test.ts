/**
 * Real power cuts on real file systems: mail is delivered by many callers onto a disk with a volatile
 * write cache, and the recording of it is cut. The long run is `npm run powercut`.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  type FileSystemName,
  fileSystems,
  ignoringFlushes,
  missing,
} from "../support/recorded-disk/index.ts";
import type { Method } from "./methods.ts";
import { chooseCuts, cutPower, recordRun } from "./power-cut.ts";
import { broken, tally } from "./report.ts";

const seed = 20_26;

async function nothingIsLost(
  fileSystem: FileSystemName,
  method: Method,
  callers: number,
  together = 1,
) {
  const run = await recordRun(fileSystem, { method, seed, messages: 192, callers, together });
  const cuts = chooseCuts(run, 10, seed);
  const results = await cutPower(run, cuts);
  assert.deepEqual(broken(run, results), []);
  assert.ok(tally(results).checked > 192, "the cuts lie where mail had been acknowledged");
  return { run, cuts };
}

for (const fileSystem of fileSystems) {
  test(`${fileSystem}: no power cut loses or damages mail the server answered with 250`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    await nothingIsLost(fileSystem, "server", 16);
  });

  test(`${fileSystem}: nor mail the executor resolved, with a reader at work`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    const { run, cuts } = await nothingIsLost(fileSystem, "executor", 32);
    await t.test("while a disk that only claims to flush loses it", async () => {
      const lying = { ...run, recording: ignoringFlushes(run.recording, run.startedNs) };
      const { lost, damaged } = tally(await cutPower(lying, cuts.slice(0, 5)));
      assert.ok(lost + damaged > 0);
    });
  });

  test(`${fileSystem}: nor mail of a batch whose files were flushed one by one`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    await nothingIsLost(fileSystem, "maildir, each file flushed", 4, 8);
  });

  test(`${fileSystem}: nor mail of a batch flushed with its whole file system`, async (t) => {
    const lack = missing(fileSystem);
    if (lack !== undefined) return t.skip(lack);
    await nothingIsLost(fileSystem, "maildir, file system flushed", 4, 8);
  });
}
