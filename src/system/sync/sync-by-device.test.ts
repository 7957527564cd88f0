import assert from "node:assert/strict";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import type { FileSystemSync } from "./file-system-sync.ts";
import { ReopenedSync, SyncByDevice } from "./sync-by-device.ts";

/** Opens flushes with these results, one after the other; a test marks them as spent. */
function opener(results: ("helper" | "none" | "error")[]) {
  const opened: { sync: FileSystemSync; isSpent: boolean; isClosed: boolean }[] = [];
  const open = async () => {
    const result = results.shift();
    if (result === "error") throw new Error("ENOENT");
    if (result === "none") return undefined;
    const state = { isSpent: false, isClosed: false };
    const sync: FileSystemSync = {
      sync: async () => {},
      get usable() {
        return !state.isSpent;
      },
      close: async () => {
        state.isClosed = true;
      },
    };
    opened.push(Object.assign(state, { sync }));
    return sync;
  };
  return { opened, open };
}

test("a flush is opened once and taken by all, until it is spent", async () => {
  const { opened, open } = opener(["helper", "helper"]);
  const syncs = new ReopenedSync(open);
  const [first, same] = await Promise.all([syncs.take(), syncs.take()]);
  assert.equal(first, same);
  assert.equal(await syncs.take(), first);
  opened[0]!.isSpent = true;
  const [second, sameAgain] = await Promise.all([syncs.take(), syncs.take()]);
  assert.equal(second, sameAgain);
  assert.notEqual(second, first);
  assert.deepEqual(
    opened.map(({ isClosed }) => isClosed),
    [true, false],
  );
  await syncs.close();
  assert.equal(opened[1]!.isClosed, true);
});

test("a machine without such a flush is tried once, at first or after a failure", async () => {
  for (const result of ["none", "error"] as const) {
    const { opened, open } = opener(["helper", result, "helper"]);
    const syncs = new ReopenedSync(open);
    assert.ok(await syncs.take());
    opened[0]!.isSpent = true;
    assert.equal(await syncs.take(), undefined);
    assert.equal(await syncs.take(), undefined);
    assert.equal(opened.length, 1);
    await syncs.close();
  }
});

test("directories of one file system share a flush, missing ones with the nearest above", async (t) => {
  const root = temporaryDirectory(t, "sync");
  const syncs = new SyncByDevice();
  const sync = await syncs.forBatch([root, join(root, "not", "made", "yet")]);
  if (sync === undefined) t.skip("no helper program works here");
  else {
    await sync(root);
    await assert.rejects(sync("/proc"), { message: '"/proc" moved to another file system' });
  }
  await syncs.close();
});

test("a path in a loop of links leaves the flush to the other directories", async (t) => {
  const root = temporaryDirectory(t, "sync");
  const loop = join(root, "loop");
  symlinkSync(loop, loop);
  const syncs = new SyncByDevice();
  const sync = await syncs.forBatch([loop, join(loop, "below"), root]);
  if (sync === undefined) t.skip("no helper program works here");
  else {
    await sync(root);
    await assert.rejects(sync(loop), { code: "ELOOP" });
  }
  await syncs.close();
});
