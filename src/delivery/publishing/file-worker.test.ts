/**
 * Both file workers pass the same tests: `localFileWorker`, and `remoteFileWorker` with its thread.
 */
import assert from "node:assert/strict";
import {
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { atEnd, temporaryDirectory } from "../../../test/support/temporary.ts";
import { errnoOf, nodeFileSystem, systemClock } from "../../system/index.ts";
import { type FileWorker, localFileWorker, type NewFile } from "./file-worker.ts";
import { remoteFileWorker } from "./remote-file-worker.ts";

const fileWorkers = {
  "in this thread": () => localFileWorker(nodeFileSystem, systemClock),
  "in its own thread": remoteFileWorker,
};

function setUp(t: TestContext, open: () => FileWorker) {
  const root = temporaryDirectory(t, "file-worker");
  const fileWorker = open();
  atEnd(t, () => fileWorker.close());
  const file = (name: string, bytes: Uint8Array, modifiedMs?: number): NewFile => ({
    path: join(root, name),
    bytes,
    modifiedMs,
  });
  return { root, fileWorker, file };
}

for (const [where, open] of Object.entries(fileWorkers)) {
  test(`${where}: 606 files of 0 bytes to 3 MiB are each written with their own bytes`, async (t) => {
    const { root, fileWorker, file } = setUp(t, open);
    const sizes = [0, 1, 4096, 3 * 1024 * 1024, 700_000, 700_000];
    const bodies = [...sizes, ...Array.from({ length: 600 }, (_, i) => i % 7)].map((size, i) =>
      new Uint8Array(size).fill(i),
    );
    await fileWorker.write(bodies.map((body, i) => file(`${i}`, body)));
    await fileWorker.write([file("again", Buffer.from("again"))]);
    for (const [i, body] of bodies.entries()) {
      assert.deepEqual(new Uint8Array(readFileSync(join(root, `${i}`))), body);
    }
    assert.equal(readFileSync(join(root, "again"), "utf8"), "again");
  });

  test(`${where}: a file left by an unfinished write is replaced, not written into`, async (t) => {
    const { root, fileWorker, file } = setUp(t, open);
    writeFileSync(join(root, "a"), "unfinished, and longer");
    linkSync(join(root, "a"), join(root, "other name"));
    await fileWorker.write([file("a", Buffer.from("new"), 1_000_000_000_000)]);
    assert.equal(readFileSync(join(root, "a"), "utf8"), "new");
    assert.equal(statSync(join(root, "a")).mtimeMs, 1_000_000_000_000);
    assert.equal(readFileSync(join(root, "other name"), "utf8"), "unfinished, and longer");
  });

  test(`${where}: write rejects with the errno of the file that failed`, async (t) => {
    const { fileWorker, file } = setUp(t, open);
    await assert.rejects(fileWorker.write([file("none/a", Buffer.from("a"))]), { code: "ENOENT" });
  });

  test(`${where}: rename resolves with one outcome for each file`, async (t) => {
    const { root, fileWorker } = setUp(t, open);
    mkdirSync(join(root, "new"));
    for (const name of ["a", "c"]) writeFileSync(join(root, name), name);
    const directory = openSync(join(root, "new"), "r");
    t.after(() => closeSync(directory));
    const outcomes = await fileWorker.rename(
      ["a", "b", "c"].map((name) => ({ from: join(root, name), directory, name })),
    );
    const errnos = ["a", "b", "c"].map((_, position) => errnoOf(outcomes[position]));
    assert.deepEqual(errnos, [undefined, "ENOENT", undefined]);
    assert.deepEqual(readdirSync(join(root, "new")).sort(), ["a", "c"]);
  });
}
