import assert from "node:assert/strict";
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../test/support/temporary.ts";
import { nodeFileSystem as disk } from "./index.ts";

test("createExclusive fails for an existing file and for a symbolic link", (t) => {
  const home = temporaryDirectory(t, "system");
  const file = disk.createExclusive(join(home, "a"), 0o600);
  disk.write(file, Buffer.from("one "));
  disk.write(file, Buffer.from("two"));
  disk.changeMode(file, 0o640);
  disk.setModified(file, 1_600_000_000_000);
  disk.close(file);
  assert.equal(readFileSync(join(home, "a"), "utf8"), "one two");
  const status = disk.status(join(home, "a"));
  assert.deepEqual(
    [status.kind, status.size, status.mode, status.modifiedMs, status.links],
    ["file", 7, 0o640, 1_600_000_000_000, 1],
  );
  assert.throws(() => disk.createExclusive(join(home, "a"), 0o600), {
    code: "EEXIST",
    syscall: "open",
    path: join(home, "a"),
  });
  symlinkSync(join(home, "elsewhere"), join(home, "link"));
  assert.throws(() => disk.createExclusive(join(home, "link"), 0o600), { code: "EEXIST" });
  assert.throws(() => disk.openForReading(join(home, "link")), { code: "ELOOP" });
  assert.equal(disk.status(join(home, "link")).kind, "symlink");
});

test("read continues at its last position and returns 0 at the end", (t) => {
  const home = temporaryDirectory(t, "system");
  writeFileSync(join(home, "a"), "abcde");
  const file = disk.openForReading(join(home, "a"));
  const piece = new Uint8Array(3);
  assert.equal(disk.read(file, piece), 3);
  assert.equal(disk.read(file, piece), 2);
  assert.equal(Buffer.from(piece).toString(), "dec");
  assert.equal(disk.read(file, piece), 0);
  disk.close(file);
});

test("openDirectory opens a directory to flush, and refuses a file or a link", async (t) => {
  const home = temporaryDirectory(t, "system");
  writeFileSync(join(home, "a"), "");
  symlinkSync(home, join(home, "link"));
  assert.throws(() => disk.openDirectory(join(home, "a")), { code: "ENOTDIR" });
  assert.throws(() => disk.openDirectory(join(home, "link")), { code: /ENOTDIR|ELOOP/ });
  const opened = disk.openDirectory(home);
  await disk.sync(opened);
  disk.close(opened);
  await assert.rejects(disk.sync(opened), { code: "EBADF", syscall: "fsync" });
  await assert.rejects(disk.syncData(opened), { code: "EBADF", syscall: "fdatasync" });
});

test("names are listed, renamed and removed", (t) => {
  const home = temporaryDirectory(t, "system");
  mkdirSync(join(home, "box"));
  disk.makeDirectory(join(home, "box", "new"), 0o700);
  assert.equal(statSync(join(home, "box", "new")).mode & 0o777, 0o700);
  writeFileSync(join(home, "box", "m"), "m");
  disk.rename(join(home, "box", "m"), join(home, "box", "new", "n"));
  assert.deepEqual(disk.list(join(home, "box", "new")), ["n"]);
  disk.unlink(join(home, "box", "new", "n"));
  assert.deepEqual(disk.list(join(home, "box", "new")), []);
  assert.equal(disk.status(join(home, "box")).kind, "directory");
  assert.equal(disk.status("/dev/null").kind, "other");
  assert.throws(() => disk.unlink(join(home, "gone")), { code: "ENOENT", syscall: "unlink" });
});
