import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { test } from "node:test";
import { SeededRandom } from "../../test/support/seeded-random.ts";
import { SimDisk } from "../../test/support/sim-disk/disk.ts";
import { temporaryDirectory } from "../../test/support/temporary.ts";
import { sweepTemporaryFiles, syncFile, writeFileDurably } from "./index.ts";

test("a file is made, then replaced, and no other file stays behind", async (t) => {
  const home = temporaryDirectory(t, "system");
  const path = join(home, "state");
  await writeFileDurably(path, "first");
  assert.equal(statSync(path).mode & 0o777, 0o600);
  await writeFileDurably(path, new Uint8Array([0, 255]), { mode: 0o644 });
  assert.deepEqual([...readFileSync(path)], [0, 255]);
  assert.equal(statSync(path).mode & 0o777, 0o644);
  assert.deepEqual(readdirSync(home), ["state"]);
});

test("owner, mode and beforeRename are applied before the file takes its name", async (t) => {
  const home = temporaryDirectory(t, "system");
  const path = join(home, "state");
  const owner = { uid: process.getuid!(), gid: process.getgid!() };
  let seen = "";
  await writeFileDurably(path, "ready", {
    owner,
    mode: 0o640,
    beforeRename: async ({ path: temporary }) => {
      await Promise.resolve();
      seen = `${readFileSync(temporary, "utf8")} ${(statSync(temporary).mode & 0o777).toString(8)}`;
      assert.deepEqual(readdirSync(home), [basename(temporary)]);
    },
  });
  assert.equal(seen, "ready 640");
});

test("a failed step rejects with its error; the old file stays, no temporary one does", async (t) => {
  const home = temporaryDirectory(t, "system");
  const path = join(home, "state");
  await writeFileDurably(path, "old");
  const beforeRename = () => {
    throw new Error("not today");
  };
  await assert.rejects(writeFileDurably(path, "new", { beforeRename }), /not today/);
  assert.equal(readFileSync(path, "utf8"), "old");
  assert.deepEqual(readdirSync(home), ["state"]);
  await assert.rejects(writeFileDurably(join(home, "gone", "state"), "x"), { code: "ENOENT" });
  await assert.rejects(writeFileDurably(join(path, "state"), "x"), { code: "ENOTDIR" });
  await assert.rejects(writeFileDurably(path, "new", { mode: 0o10000 }), {
    code: "ERR_SYSTEM_INVALID_ARGUMENT",
    message: "mode must be permission bits from 0 to 0o7777; got 4096.",
  });
});

test("a cut at any instant leaves the old contents or the new; the new after resolving", async () => {
  let cuts = 0;
  for (let seed = 1; seed <= 40; seed += 1) {
    for (let cutAt = 1; ; cutAt += 1) {
      const disk = new SimDisk(new SeededRandom(seed));
      await writeFileDurably("/state", "a".repeat(700), { fileSystem: disk.start() });
      disk.cutAt = disk.instants + cutAt;
      let resolved = false;
      await writeFileDurably("/state", "b".repeat(1300), { fileSystem: disk.start() }).then(
        () => {
          resolved = true;
        },
        () => undefined,
      );
      const finished = !disk.isOff;
      disk.cut();
      const bytes = disk.afterCut().root.names.get("state")?.bytes;
      const text = Buffer.from(bytes ?? []).toString();
      const context = `seed ${seed}, cut at ${cutAt}: ${text.length} bytes`;
      assert.ok(text === "b".repeat(1300) || (text === "a".repeat(700) && !resolved), context);
      cuts += 1;
      if (finished) break;
    }
  }
  assert.ok(cuts > 300, `${cuts} cuts`);
});

test("every failing call is reported; no file stays open, no temporary file behind", async () => {
  for (let number = 1; ; number += 1) {
    const disk = new SimDisk(new SeededRandom(1));
    const fileSystem = disk.start();
    await writeFileDurably("/state", "old", { fileSystem });
    const start = disk.operations;
    let name = "";
    disk.faults = [
      {
        errno: "EIO",
        matches: (operation) => {
          const isIt = operation.number === start + number;
          if (isIt) name = `${operation.name} ${operation.path}`;
          return isIt;
        },
      },
    ];
    const failure = await writeFileDurably("/state", "new", { fileSystem }).then(
      () => undefined,
      (error: NodeJS.ErrnoException) => error.code,
    );
    disk.faults = [];
    if (name === "") break;
    // What is only tidying up may fail unheard.
    if (!name.startsWith("close") || name.includes(".tmp")) assert.equal(failure, "EIO", name);
    assert.deepEqual(fileSystem.openFiles, []);
    if (name.startsWith("unlink")) continue;
    assert.deepEqual(fileSystem.list("/"), ["state"], name);
  }
});

test("old temporary files of crashed writers are removed; all other files stay", (t) => {
  const home = temporaryDirectory(t, "system");
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  const tag = "0123456789abcdef";
  const old = new Date(Date.now() - 2 * 60 * 60 * 1000);
  const names = {
    crashed: `.state.${dead}-${tag}-1.tmp`,
    earlierProcessOfOurId: `.state.${process.pid}-${tag}-1.tmp`,
    livingWriter: `.state.${process.ppid}-${tag}-1.tmp`,
    young: `.state.${dead}-${tag}-2.tmp`,
    otherProgram: `.state.tmp`,
  };
  for (const name of Object.values(names)) {
    writeFileSync(join(home, name), "");
    if (name !== names.young) utimesSync(join(home, name), old, old);
  }
  assert.equal(sweepTemporaryFiles(home), 2);
  assert.deepEqual(
    readdirSync(home).sort(),
    [names.livingWriter, names.young, names.otherProgram].sort(),
  );
});

test("the first write into a directory removes files of crashed writers", async (t) => {
  const home = temporaryDirectory(t, "system");
  const dead = spawnSync(process.execPath, ["-e", ""]).pid;
  const left = join(home, `.other.${dead}-0123456789abcdef-1.tmp`);
  writeFileSync(left, "");
  utimesSync(left, 0, 0);
  await writeFileDurably(join(home, "state"), "x");
  assert.deepEqual(readdirSync(home), ["state"]);
});

test("syncFile rejects with the failed system call", async (t) => {
  const home = temporaryDirectory(t, "system");
  writeFileSync(join(home, "a"), "a");
  await syncFile(join(home, "a"));
  await assert.rejects(syncFile(join(home, "missing")), {
    code: "ENOENT",
    syscall: "open",
    path: join(home, "missing"),
  });
  await assert.rejects(syncFile("/dev/null"), { code: "EINVAL", syscall: "fsync" });
  symlinkSync(join(home, "a"), join(home, "link"));
  await assert.rejects(syncFile(join(home, "link")), { code: "ELOOP", syscall: "open" });
});
