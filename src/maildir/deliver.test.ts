import assert from "node:assert/strict";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { temporaryDirectory } from "../../test/support/temporary.ts";
import { nodeFileSystem, systemClock } from "../system/index.ts";
import {
  createKnownMailboxes,
  createNameSource,
  type DeliverTools,
  type Delivery,
  deliverAll,
  type MaildirError,
} from "./index.ts";

function setUp(t: TestContext, more: Partial<DeliverTools> = {}) {
  const root = temporaryDirectory(t);
  const tools: DeliverTools = {
    fileSystem: nodeFileSystem,
    clock: systemClock,
    names: createNameSource({ clock: systemClock }),
    known: createKnownMailboxes(),
    root,
    ...more,
  };
  return { root, tools };
}

async function refusal(delivery: Delivery, tools: DeliverTools): Promise<MaildirError> {
  const [result] = await deliverAll([delivery], tools);
  assert.ok(result && !result.ok);
  return result.error;
}

const deliveryTo = (maildir: string, text = "hello\n"): Delivery => ({
  maildir,
  body: Buffer.from(text),
});

test("messages for several mailboxes are committed as one batch, answered in order", async (t) => {
  const { root, tools } = setUp(t);
  const texts = ["a", "bb\n", "ccc", "", "\r\n"];
  const results = await deliverAll(
    texts.map((text, index) => deliveryTo(join(root, `box${index % 2}`), text)),
    tools,
  );
  const ids = results.map((result) => (result.ok ? result.id : ""));
  assert.equal(new Set(ids).size, texts.length);
  for (const [index, text] of texts.entries()) {
    const path = join(root, `box${index % 2}`, "new", ids[index]!);
    assert.equal(readFileSync(path, "utf8"), text);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.match(ids[index]!, new RegExp(`,S=${text.length},W=\\d+$`));
  }
  for (const box of ["box0", "box1"]) {
    assert.equal(statSync(join(root, box)).mode & 0o777, 0o700);
    assert.deepEqual(readdirSync(join(root, box)).sort(), ["cur", "new", "tmp"]);
    assert.deepEqual(readdirSync(join(root, box, "tmp")), []);
  }
});

test("an empty batch touches no file", async (t) => {
  const { root, tools } = setUp(t);
  assert.deepEqual(await deliverAll([], tools), []);
  assert.deepEqual(readdirSync(root), []);
});

test("a message with flags goes to cur/; its received date becomes the file's", async (t) => {
  const { root, tools } = setUp(t);
  const receivedAt = new Date("2001-02-03T04:05:06Z");
  const box = join(root, "box");
  const [flagged, plain] = await deliverAll(
    [
      { ...deliveryTo(box), flags: "SFS", receivedAt },
      { ...deliveryTo(box), flags: "" },
    ],
    tools,
  );
  assert.ok(flagged?.ok && plain?.ok);
  const path = join(box, "cur", `${flagged.id}:2,FS`);
  assert.deepEqual(statSync(path).mtime, receivedAt);
  assert.ok(readdirSync(join(box, "new")).includes(plain.id));
});

test("a spooled body is stored as its head and then the whole spool file", async (t) => {
  const { root, tools } = setUp(t);
  const file = join(root, "spool");
  const bytes = Buffer.alloc(700_001, "0123456789");
  writeFileSync(file, bytes);
  const body = { head: Buffer.from("Received: here\n"), file, size: 15 + bytes.length };
  const box = join(root, "box");
  const [first, counted] = await deliverAll(
    [
      { maildir: box, body },
      { maildir: box, body: { ...body, crlfSize: body.size + 1 } },
    ],
    tools,
  );
  assert.ok(first?.ok && counted?.ok);
  const stored = readFileSync(join(box, "new", first.id));
  assert.ok(stored.equals(Buffer.concat([body.head, bytes])));
  assert.ok(first.id.endsWith(`,S=${body.size}`), "no CRLF size without a count");
  assert.ok(counted.id.endsWith(`,S=${body.size},W=${body.size + 1}`));
});

test("a spool file of another size than stated, or missing, fails only its message", async (t) => {
  const { root, tools } = setUp(t);
  const file = join(root, "spool");
  writeFileSync(file, "short");
  const head = Buffer.from("head");
  const box = join(root, "box");
  const [wrong, gone, good] = await deliverAll(
    [
      { maildir: box, body: { head, file, size: 100 } },
      { maildir: box, body: { head, file: join(root, "gone"), size: 100 } },
      deliveryTo(box),
    ],
    tools,
  );
  assert.ok(wrong && !wrong.ok && gone && !gone.ok && good?.ok);
  assert.equal(wrong.error.code, "ERR_MAILDIR_BODY_SIZE");
  assert.equal(gone.error.code, "ERR_MAILDIR_WRITE_FAILED");
  assert.equal(gone.error.errno, "ENOENT");
  assert.deepEqual(readdirSync(join(box, "tmp")), []);
  assert.deepEqual(readdirSync(join(box, "new")), [good.id]);
});

test("a mailbox that is a file fails with the errno; the others get their mail", async (t) => {
  const { root, tools } = setUp(t);
  writeFileSync(join(root, "file"), "");
  const results = await deliverAll(
    [
      deliveryTo(join(root, "file")),
      deliveryTo(join(root, "box")),
      deliveryTo(join(root, "file", "below")),
    ],
    tools,
  );
  assert.deepEqual(
    results.map((result) => (result.ok ? "ok" : [result.error.code, result.error.errno])),
    [["ERR_MAILDIR_NOT_A_MAILDIR", "EEXIST"], "ok", ["ERR_MAILDIR_NOT_A_MAILDIR", "EEXIST"]],
  );
  const error = await refusal(deliveryTo(join(root, "file")), { ...tools, root: "/" });
  assert.equal((error.cause as NodeJS.ErrnoException).syscall, "mkdir");
});

test("a mailbox that is a file fails the same way without a mail root", async (t) => {
  const { root, tools } = setUp(t);
  const { root: _, ...withoutRoot } = tools;
  writeFileSync(join(root, "file"), "");
  const error = await refusal(deliveryTo(join(root, "file")), withoutRoot);
  assert.equal(error.code, "ERR_MAILDIR_NOT_A_MAILDIR");
  assert.equal(error.errno, "ENOTDIR");
});

test("without a mail root, parents are made and a link to the mailbox is followed", async (t) => {
  const { root, tools } = setUp(t);
  const { root: _, ...withoutRoot } = tools;
  symlinkSync(join(root, "real"), join(root, "link"));
  mkdirSync(join(root, "real"));
  const [deep, linked] = await deliverAll(
    [deliveryTo(join(root, "a", "b", "c")), deliveryTo(join(root, "link"))],
    withoutRoot,
  );
  assert.ok(deep?.ok && linked?.ok);
  assert.deepEqual(readdirSync(join(root, "a", "b", "c", "new")), [deep.id]);
  assert.deepEqual(readdirSync(join(root, "real", "new")), [linked.id]);
});

test("below the mail root no symbolic link is followed, at any depth", async (t) => {
  const { root, tools } = setUp(t);
  const victim = join(root, "victim");
  assert.ok((await deliverAll([deliveryTo(victim)], tools))[0]?.ok);
  symlinkSync(root, join(root, "domain"));
  symlinkSync(victim, join(root, "box"));
  for (const name of ["new", "cur", "tmp"]) {
    mkdirSync(join(root, `with-${name}`));
    symlinkSync(join(victim, name), join(root, `with-${name}`, name));
  }
  for (const path of ["domain/victim", "box", "with-new", "with-cur", "with-tmp"]) {
    const error = await refusal(deliveryTo(join(root, path)), tools);
    assert.equal(error.code, "ERR_MAILDIR_SYMLINK", path);
  }
  assert.equal(readdirSync(join(victim, "new")).length, 1);
});

test("a path that leads out of the mail root is refused", async (t) => {
  const { root, tools } = setUp(t);
  for (const path of ["..", ".", "a/../../b", "/etc", `${root}-beside`]) {
    const error = await refusal(deliveryTo(join(root, path)), {
      ...tools,
      root: join(root, "mail"),
    });
    assert.equal(error.code, "ERR_MAILDIR_INVALID_ARGUMENT", path);
  }
  const error = await refusal(deliveryTo(join(root, "a\0b")), tools);
  assert.equal(error.code, "ERR_MAILDIR_DIRECTORY_FAILED");
});

test("a delivery with an invalid argument fails alone, with the value received", async (t) => {
  const { root, tools } = setUp(t);
  const box = join(root, "box");
  const invalid: [unknown, RegExp][] = [
    [{ ...deliveryTo(box), flags: "../x" }, /^flags must be letters; got "..\/x"\.$/],
    [
      { ...deliveryTo(box), receivedAt: new Date(Number.NaN) },
      /^receivedAt must be a valid Date; got Invalid Date\.$/,
    ],
    [
      { ...deliveryTo(box), id: "../../escape" },
      /^id must be a file name without flags; got "..\/..\/escape"\.$/,
    ],
    [{ ...deliveryTo(box), body: "text" }, /^body must be .*; got "text"\.$/],
    [{ ...deliveryTo(box), body: { head: new Uint8Array(), file: "x" } }, /body must be/],
    [{ ...deliveryTo(box), body: null }, /^body must be .*; got null\.$/],
    [{ body: Buffer.from("x") }, /^maildir must be a path; got undefined\.$/],
    [deliveryTo(""), /^maildir must be a path; got ""\.$/],
  ];
  const deliveries = invalid.map(([delivery]) => delivery as Delivery);
  const results = await deliverAll([...deliveries, deliveryTo(box)], tools);
  for (const [index, [, message]] of invalid.entries()) {
    const result = results[index];
    assert.ok(result && !result.ok);
    assert.equal(result.error.code, "ERR_MAILDIR_INVALID_ARGUMENT");
    assert.match(result.error.message, message);
  }
  assert.ok(results.at(-1)?.ok);
  assert.equal(readdirSync(join(box, "new")).length, 1);
});

test("a given name is used as it is; an existing file of that name is not overwritten", async (t) => {
  const { root, tools } = setUp(t);
  const box = join(root, "box");
  const id = tools.names.next(6);
  mkdirSync(join(box, "tmp"), { recursive: true });
  writeFileSync(join(box, "tmp", id), "another program's");
  const error = await refusal({ ...deliveryTo(box), id }, tools);
  assert.equal(error.code, "ERR_MAILDIR_WRITE_FAILED");
  assert.equal(error.errno, "EEXIST");
  assert.equal(readFileSync(join(box, "tmp", id), "utf8"), "another program's");
  const [stored] = await deliverAll([{ ...deliveryTo(box), id: `${id}x` }], tools);
  assert.deepEqual(stored, { ok: true, id: `${id}x` });
});

test("a mailbox removed while the process runs is made again", async (t) => {
  const { root, tools } = setUp(t);
  const box = join(root, "box");
  await deliverAll([deliveryTo(box)], tools);
  rmSync(box, { recursive: true });
  const [result] = await deliverAll([deliveryTo(box)], tools);
  assert.ok(result?.ok);
  assert.deepEqual(readdirSync(join(box, "new")), [result.id]);
});

test("the first delivery flushes up to the mail root, later ones only new/ and tmp/", async (t) => {
  const flushed: string[] = [];
  const paths = new Map<number, string>();
  const fileSystem = {
    ...nodeFileSystem,
    openDirectory: (path: string) => {
      const file = nodeFileSystem.openDirectory(path);
      paths.set(file, path);
      return file;
    },
    sync: (file: number) => {
      flushed.push(paths.get(file)!);
      return nodeFileSystem.sync(file);
    },
  };
  const { root, tools } = setUp(t, { fileSystem });
  const box = join(root, "example", "ann");
  const relative = () => flushed.splice(0).map((path) => path.slice(root.length));
  await deliverAll([deliveryTo(box), deliveryTo(box)], tools);
  assert.deepEqual(relative(), [
    "/example/ann/new",
    "/example/ann/cur",
    "/example/ann",
    "/example",
    "/.",
    "/example/ann/tmp",
  ]);
  await deliverAll([deliveryTo(box)], tools);
  assert.deepEqual(relative(), ["/example/ann/new", "/example/ann/tmp"]);
  await deliverAll([{ ...deliveryTo(box), flags: "S" }], {
    ...tools,
    known: createKnownMailboxes(),
  });
  assert.equal(relative().length, 6, "an unknown mailbox is flushed again");
});

test("two batches at once to a new mailbox each flush its directories", async (t) => {
  let flushes = 0;
  const fileSystem = {
    ...nodeFileSystem,
    sync: (file: number) => {
      flushes += 1;
      return nodeFileSystem.sync(file);
    },
  };
  const { root, tools } = setUp(t, { fileSystem });
  const batch = () => deliverAll([deliveryTo(join(root, "box"))], tools);
  await Promise.all([batch(), batch()]);
  assert.equal(flushes, 10, "new/, cur/, the mailbox, the mail root and tmp/, by each of them");
});

test("the sync plan chooses for each phase between a flush of each and one of all", async (t) => {
  const asked: string[] = [];
  const bulk: string[] = [];
  const { root, tools } = setUp(t, {
    syncFileSystem: async (directory) => {
      bulk.push(directory);
    },
    syncPlan: (phase, count) => {
      asked.push(`${phase} ${count}`);
      return phase === "data" ? "bulk" : "each";
    },
  });
  const box = join(root, "box");
  await deliverAll([deliveryTo(box), deliveryTo(box), deliveryTo(box)], tools);
  await deliverAll([deliveryTo(box)], tools);
  assert.deepEqual(asked, ["data 3", "names 5", "data 1", "names 2"]);
  assert.deepEqual(bulk, [box, box]);
});

test("after a failed bulk flush every message gets a new file and its own result", async (t) => {
  const drafts: string[] = [];
  const fileSystem = {
    ...nodeFileSystem,
    createExclusive: (path: string, mode: number) => {
      drafts.push(path);
      return nodeFileSystem.createExclusive(path, mode);
    },
  };
  const { root, tools } = setUp(t, {
    fileSystem,
    syncFileSystem: async () => {
      throw Object.assign(new Error("EIO"), { code: "EIO" });
    },
  });
  const box = join(root, "box");
  const results = await deliverAll(
    [deliveryTo(box), deliveryTo(box, "x"), deliveryTo(box, "y")],
    tools,
  );
  assert.ok(results.every(({ ok }) => ok));
  assert.equal(drafts.filter((path) => path.endsWith(".again")).length, 3);
  assert.deepEqual(readdirSync(join(box, "tmp")), []);
  assert.deepEqual(
    readdirSync(join(box, "new")).sort(),
    results.map((result) => result.ok && result.id).sort(),
  );
});

test("a batch of 150 messages is stored with at most 64 open files", async (t) => {
  let open = 0;
  let maxOpen = 0;
  const fileSystem = {
    ...nodeFileSystem,
    createExclusive: (path: string, mode: number) => {
      maxOpen = Math.max(maxOpen, ++open);
      return nodeFileSystem.createExclusive(path, mode);
    },
    close: (file: number) => {
      open -= 1;
      nodeFileSystem.close(file);
    },
  };
  const { root, tools } = setUp(t, { fileSystem });
  const results = await deliverAll(
    Array.from({ length: 150 }, () => deliveryTo(join(root, "box"))),
    tools,
  );
  assert.ok(results.every(({ ok }) => ok));
  assert.ok(maxOpen <= 64, `${maxOpen} open at once`);
});
