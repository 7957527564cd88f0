import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { lockDataDirectory, prepareDataDirectory } from "./data-directory.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "postbag-data-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

test("a data directory is open to its owner only", () => {
  const data = prepareDataDirectory(join(folder, "new", "data"));
  for (const path of [data.path, data.mail, data.spool]) {
    assert.equal(statSync(path).mode & 0o777, 0o700, path);
  }
});

test("a data path that is a file is refused with advice, and the file stays unchanged", () => {
  const file = join(folder, "data");
  writeFileSync(file, "precious");
  assert.throws(() => prepareDataDirectory(file), {
    code: "ERR_APP_DATA_DIRECTORY",
    message: /data as a folder \(EEXIST\).*--data/,
  });
  assert.equal(statSync(file).size, 8);
});

test("the lock is refused while it is taken and granted after its release", () => {
  const giveBack = lockDataDirectory(folder);
  assert.throws(() => lockDataDirectory(folder), {
    code: "ERR_APP_DATA_IN_USE",
    message: new RegExp(`^Another Postbag.* is using ${folder}.*--data`),
  });
  giveBack();
  lockDataDirectory(folder)();
});

test("locking the data directory creates the file lock and no other file", () => {
  const giveBack = lockDataDirectory(folder);
  assert.deepEqual(readdirSync(folder), ["lock"]);
  giveBack();
  assert.deepEqual(readdirSync(folder), ["lock"]);
});
