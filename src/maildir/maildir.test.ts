import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import { readdirSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { promisify } from "node:util";
import { temporaryDirectory } from "../../test/support/temporary.ts";
import { nodeFileSystem } from "../system/index.ts";
import { Maildir } from "./index.ts";

const newPath = (t: TestContext) => join(temporaryDirectory(t), "box");

const bytes = (text: string) => Buffer.from(text);

test("a message delivered is listed, read, marked and removed", async (t) => {
  const box = await Maildir.create(newPath(t));
  const id = await box.deliver(bytes("hello\n"));
  assert.deepEqual(await box.scan("new"), [
    { id, flags: "", subdirectory: "new", path: join(box.path, "new", id), size: 6 },
  ]);
  assert.equal(Buffer.from(await box.fetch(id)).toString(), "hello\n");
  await box.mark(id, "SF");
  assert.deepEqual(await box.scan("new"), []);
  assert.deepEqual(
    (await box.scan("cur")).map(({ flags }) => flags),
    ["FS"],
  );
  assert.equal(Buffer.from(await box.fetch(id)).toString(), "hello\n");
  await box.remove(id);
  assert.deepEqual(await box.scan("cur"), []);
  for (const use of [box.fetch(id), box.mark(id, "S"), box.remove(id)]) {
    await assert.rejects(use, { code: "ERR_MAILDIR_NOT_FOUND" });
  }
});

test("a batch answers in input order, with a result for each message", async (t) => {
  const box = await Maildir.create(newPath(t));
  const missing = { head: bytes(""), file: join(box.path, "missing"), size: 1 };
  const results = await box.deliverBatch([bytes("a"), missing, bytes("ccc")]);
  assert.deepEqual(
    results.map((result) => (result.ok ? result.id.match(/S=(\d)/)?.[1] : result.error.errno)),
    ["1", "ENOENT", "3"],
  );
  assert.deepEqual(await box.deliverBatch([]), []);
  await assert.rejects(box.deliver(missing), { code: "ERR_MAILDIR_WRITE_FAILED", errno: "ENOENT" });
});

test("create completes a partial mailbox, and fails if a file has its name", async (t) => {
  const path = newPath(t);
  await Maildir.create(path);
  rmSync(join(path, "cur"), { recursive: true });
  const before = statSync(path).ino;
  await Maildir.create(path);
  assert.equal(statSync(path).ino, before);
  assert.deepEqual(readdirSync(path).sort(), ["cur", "new", "tmp"]);
  rmSync(path, { recursive: true });
  writeFileSync(path, "a file");
  await assert.rejects(Maildir.create(path), {
    code: "ERR_MAILDIR_NOT_A_MAILDIR",
    errno: "ENOTDIR",
  });
});

test("open fails unless new/, cur/ and tmp/ are directories", async (t) => {
  const path = newPath(t);
  await assert.rejects(Maildir.open(path), {
    code: "ERR_MAILDIR_NOT_A_MAILDIR",
    message: /new\/ is missing/,
  });
  await Maildir.create(path);
  assert.equal((await Maildir.open(path)).path, path);
  rmSync(join(path, "tmp"), { recursive: true });
  writeFileSync(join(path, "tmp"), "");
  await assert.rejects(Maildir.open(path), { message: /tmp\/ is a file/ });
});

test("invalid arguments are refused without a call to the disk", async (t) => {
  const invalid = { code: "ERR_MAILDIR_INVALID_ARGUMENT" };
  await assert.rejects(Maildir.create(""), invalid);
  const box = await Maildir.create(newPath(t));
  await assert.rejects(box.scan("tmp" as "new"), invalid);
  await assert.rejects(box.deliver("text" as unknown as Uint8Array), invalid);
});

test("create fails if the directories cannot be flushed", async (t) => {
  const sync = async () => {
    throw Object.assign(new Error("EIO"), { code: "EIO" });
  };
  await assert.rejects(Maildir.create(newPath(t), { fileSystem: { ...nodeFileSystem, sync } }), {
    code: "ERR_MAILDIR_SYNC_FAILED",
    errno: "EIO",
  });
});

test("mark sets the standard flags and leaves keywords, a tail and the date alone", async (t) => {
  const box = await Maildir.create(newPath(t));
  const id = await box.deliver(bytes("x"), { flags: "Fa", receivedAt: new Date(1e12) });
  renameSync(join(box.path, "cur", `${id}:2,Fa`), join(box.path, "cur", `${id}:2,Fa,S=1`));
  await box.mark(id, "RS");
  assert.deepEqual(readdirSync(join(box.path, "cur")), [`${id}:2,RSa,S=1`]);
  assert.equal(statSync(join(box.path, "cur", `${id}:2,RSa,S=1`)).mtimeMs, 1e12);
  await box.mark(id, "");
  assert.deepEqual(readdirSync(join(box.path, "cur")), [`${id}:2,a,S=1`]);
  await assert.rejects(box.mark(id, "S/../x"), { code: "ERR_MAILDIR_INVALID_ARGUMENT" });
});

test("a message that a reader moves during a lookup is found again", async (t) => {
  const path = newPath(t);
  let race: (() => void) | undefined;
  const fileSystem = {
    ...nodeFileSystem,
    openForReading: (file: string) => {
      race?.();
      return nodeFileSystem.openForReading(file);
    },
    list: (directory: string) => {
      const names = nodeFileSystem.list(directory);
      if (directory.endsWith("new")) race?.();
      return names;
    },
  };
  const box = await Maildir.create(path, { fileSystem });
  const id = await box.deliver(bytes("x"));
  const move = (from: string, to: string) => () => {
    race = undefined;
    renameSync(join(path, from), join(path, to));
  };
  race = move(`new/${id}`, `cur/${id}:2,S`);
  assert.equal((await box.fetch(id)).length, 1);
  race = move(`cur/${id}:2,S`, `new/${id}`);
  assert.equal((await box.fetch(id)).length, 1, "listed in neither directory at the first lookup");
  race = move(`new/${id}`, `cur/${id}:2,RS`);
  await box.mark(id, "F");
  assert.deepEqual(readdirSync(join(path, "cur")), [`${id}:2,F`]);
});

test("hidden files and index files are not listed, marked or removed", async (t) => {
  const box = await Maildir.create(newPath(t));
  const own = ["dovecot-uidlist", "dovecot.index.log", "subscriptions", "maildirsize"];
  for (const name of own) writeFileSync(join(box.path, name), name);
  for (const name of ["new", "cur", "tmp"]) writeFileSync(join(box.path, name, ".hidden"), "");
  const id = await box.deliver(bytes("x"));
  assert.deepEqual(
    (await box.scan("new")).map(({ id: found }) => found),
    [id],
  );
  assert.deepEqual(await box.scan("cur"), []);
  await box.mark(id, "S");
  await box.remove(id);
  assert.equal(await box.cleanTmp(0), 0);
  assert.deepEqual(readdirSync(box.path).sort(), ["cur", "new", "tmp", ...own].sort());
});

test("an id that is not a file name is refused without a call to the disk", async (t) => {
  const box = await Maildir.create(newPath(t));
  for (const id of ["", "../../etc/passwd", ".hidden", "a:2,S", "a\0"]) {
    await assert.rejects(box.fetch(id), { code: "ERR_MAILDIR_INVALID_ARGUMENT" });
    await assert.rejects(box.remove(id), { code: "ERR_MAILDIR_INVALID_ARGUMENT" });
  }
});

test("cleanTmp judges age by the last change and spares files of this process", async (t) => {
  const box = await Maildir.create(newPath(t));
  const own = (await box.deliver(bytes("x"))).replace(/Q\d+/, "Q999");
  for (const name of ["left.behind.host", own]) {
    writeFileSync(join(box.path, "tmp", name), "");
    utimesSync(join(box.path, "tmp", name), 0, 0);
  }
  assert.equal(await box.cleanTmp(), 0, "an old modification time does not make a file old");
  assert.equal(await box.cleanTmp(0), 1);
  assert.deepEqual(readdirSync(join(box.path, "tmp")), [own]);
  for (const age of [-1, Number.NaN]) {
    await assert.rejects(box.cleanTmp(age), {
      code: "ERR_MAILDIR_INVALID_ARGUMENT",
      message: `maxAgeMs must be a number of milliseconds from 0 up; got ${age}.`,
    });
  }
});

test("cleanTmp does not count a file that another program removed meanwhile", async (t) => {
  const path = newPath(t);
  const unlink = () => {
    throw Object.assign(new Error("ENOENT"), { code: "ENOENT" });
  };
  const box = await Maildir.create(path, { fileSystem: { ...nodeFileSystem, unlink } });
  writeFileSync(join(path, "tmp", "left.behind.host"), "");
  assert.equal(await box.cleanTmp(0), 0);
});

test("access to a removed mailbox fails with ACCESS_FAILED and the errno", async (t) => {
  const box = await Maildir.create(newPath(t));
  const id = await box.deliver(bytes("x"));
  rmSync(box.path, { recursive: true });
  const expected = { code: "ERR_MAILDIR_ACCESS_FAILED", errno: "ENOENT", path: box.path };
  await assert.rejects(box.scan("new"), expected);
  await assert.rejects(box.cleanTmp(), expected);
  await assert.rejects(box.remove(id), expected);
  await assert.rejects(box.fetch(id), expected);
});

test("three processes deliver into one mailbox at once without a lost message", async (t) => {
  const path = newPath(t);
  const program = `
    import { Maildir } from ${JSON.stringify(new URL("./index.ts", import.meta.url).href)};
    const box = await Maildir.create(process.argv[1]);
    await Promise.all(Array.from({ length: 25 }, () => box.deliver(Buffer.from("x"))));`;
  const run = () =>
    promisify(execFile)(process.execPath, ["--input-type=module", "-e", program, path]);
  await Promise.all([run(), run(), run()]);
  assert.equal(readdirSync(join(path, "new")).length, 75);
});

test("Python's mailbox module reads our messages, flags and dates", async (t) => {
  const box = await Maildir.create(newPath(t));
  const mail = "Subject: a test\n\nline one\n";
  await box.deliver(bytes(mail));
  await box.deliver(bytes(mail), { flags: "RS", receivedAt: new Date(1e12) });
  const program = `
import mailbox, sys, json
box = mailbox.Maildir(sys.argv[1], create=False)
print(json.dumps(sorted([m.get_subdir(), m.get_flags(), m.get_date() == 1e9, m["subject"], m.get_payload()] for m in box)))
box.clean()`;
  const python = spawnSync("python3", ["-c", program, box.path], { encoding: "utf8" });
  if (python.error) return t.skip("needs python3");
  assert.equal(python.stderr, "");
  assert.deepEqual(JSON.parse(python.stdout), [
    ["cur", "RS", true, "a test", "line one\n"],
    ["new", "", false, "a test", "line one\n"],
  ]);
});
