/**
 * The delivery executor without a journal, on a real disk. Each test runs with the default options
 * and with the reference tuning: none may depend on how long a batch waits for more messages.
 */
import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { temporaryDirectory } from "../../test/support/temporary.ts";
import {
  DeliveryError,
  type DeliveryEvent,
  DeliveryExecutor,
  type DeliveryExecutorOptions,
  referenceTuning,
} from "./index.ts";

const encode = (text: string) => new TextEncoder().encode(text);

async function names(maildir: string, folder: "new" | "cur" | "tmp" = "new"): Promise<string[]> {
  return readdir(join(maildir, folder));
}

function failsWith(code: string, errno?: string) {
  return (error: unknown) => {
    assert.ok(error instanceof DeliveryError, String(error));
    assert.equal(error.code, code);
    if (errno !== undefined) {
      assert.equal(error.errno, errno);
      assert.equal((error.cause as { code?: string }).code, errno);
    }
    return true;
  };
}

/** Opens an executor that commits in the mailboxes, or through a journal of its own. */
type Open = (t: TestContext, options?: DeliveryExecutorOptions) => Promise<DeliveryExecutor>;

const openSynced: Open = async (_, options) => DeliveryExecutor.open(options);

/** Publishes often: the default pace is for a loaded server. */
const openJournalled: Open = async (t, options) => {
  const directory = temporaryDirectory(t, "delivery");
  const journal = join(directory, "journal");
  const commit = { journal, segmentBytes: 8 * 1024 * 1024 };
  return DeliveryExecutor.open({ publishWithinMs: 2, ...options, commit });
};

/** Delivers, and waits until the message is in its mailbox. */
async function delivered(
  executor: DeliveryExecutor,
  ...request: Parameters<DeliveryExecutor["deliver"]>
): Promise<string> {
  const id = await executor.deliver(...request);
  await executor.published(id);
  return id;
}

const modes = [
  ["synced", openSynced],
  ["journal", openJournalled],
] as const;

for (const [label, tuning, open] of [
  ["synced, defaults", {}, openSynced],
  ["synced, reference tuning", referenceTuning, openSynced],
  ["journal, defaults", {}, openJournalled],
  ["journal, reference tuning", referenceTuning, openJournalled],
] as const) {
  describe(`executor, ${label}`, () => {
    test("one message lies in new/ under the returned name, whole", async (t) => {
      const maildir = join(temporaryDirectory(t, "delivery"), "box");
      await using executor = await open(t, tuning);
      const id = await delivered(executor, maildir, encode("Subject: hi\n\nhello\n"));
      assert.deepEqual(await names(maildir), [id]);
      assert.equal(await readFile(join(maildir, "new", id), "utf8"), "Subject: hi\n\nhello\n");
      assert.deepEqual(await names(maildir, "tmp"), []);
      assert.match(id, /,S=19\b/);
    });

    test("16 concurrent messages to one mailbox get 16 names, each with its own bytes", async (t) => {
      const maildir = join(temporaryDirectory(t, "delivery"), "box");
      await using executor = await open(t, tuning);
      const bodies = Array.from({ length: 16 }, (_, i) => `message ${i}\n`);
      const ids = await Promise.all(
        bodies.map((body) => delivered(executor, maildir, encode(body))),
      );
      assert.equal(new Set(ids).size, 16);
      for (const [i, id] of ids.entries()) {
        assert.equal(await readFile(join(maildir, "new", id), "utf8"), bodies[i]);
      }
    });

    test("24 messages to 24 mailboxes each arrive in their own mailbox", async (t) => {
      const root = temporaryDirectory(t, "delivery");
      await using executor = await open(t, tuning);
      const boxes = Array.from({ length: 24 }, (_, i) => join(root, `box${i}`));
      const ids = await Promise.all(boxes.map((box) => delivered(executor, box, encode(box))));
      for (const [i, box] of boxes.entries()) assert.deepEqual(await names(box), [ids[i]]);
    });

    test("a lone message is committed at once, in a batch of one", async (t) => {
      const maildir = join(temporaryDirectory(t, "delivery"), "box");
      await using executor = await open(t, { ...tuning, maxBatch: 1000 });
      const { batchSize } = await executor.submit(maildir, encode("alone\n"));
      assert.equal(batchSize, 1);
    });

    test("close delivers every accepted message and refuses later ones", async (t) => {
      const maildir = join(temporaryDirectory(t, "delivery"), "box");
      const executor = await open(t, { ...tuning, maxBatch: 4 });
      const outcomes = Promise.allSettled(
        Array.from({ length: 40 }, (_, i) => delivered(executor, maildir, encode(`${i}\n`))),
      );
      await executor.close();
      const settled = await outcomes;
      assert.deepEqual(new Set(settled.map(({ status }) => status)), new Set(["fulfilled"]));
      assert.equal((await names(maildir)).length, 40);
      await assert.rejects(
        delivered(executor, maildir, encode("late\n")),
        failsWith("ERR_DELIVERY_CLOSED"),
      );
      await executor.close();
    });

    test("a path that is a file fails with its errno; the batch's other messages do not", async (t) => {
      const root = temporaryDirectory(t, "delivery");
      await writeFile(join(root, "file"), "not a mailbox");
      await using executor = await open(t, tuning);
      const [bad, good] = await Promise.allSettled([
        delivered(executor, join(root, "file"), encode("a\n")),
        delivered(executor, join(root, "box"), encode("b\n")),
      ]);
      assert.equal(good.status, "fulfilled");
      assert.equal(bad.status, "rejected");
      const { code, cause, path } = bad.reason as DeliveryError;
      assert.equal(code, "ERR_DELIVERY_FAILED");
      assert.equal(path, join(root, "file"));
      assert.match(String((cause as { code?: string }).code), /^E(NOTDIR|EXIST)$/);
    });

    test("a path with too long a name fails alone in a batch of many", async (t) => {
      const root = temporaryDirectory(t, "delivery");
      await using executor = await open(t, tuning);
      const boxes = ["x".repeat(300), ...Array.from({ length: 20 }, (_, i) => `box${i}`)];
      const [bad, ...others] = await Promise.allSettled(
        boxes.map((box) => delivered(executor, join(root, box), encode("a\n"))),
      );
      assert.deepEqual(new Set(others.map(({ status }) => status)), new Set(["fulfilled"]));
      assert.equal(bad?.status, "rejected");
      failsWith("ERR_DELIVERY_FAILED", "ENAMETOOLONG")(bad.reason);
    });

    test("messages to one mailbox are delivered in the order of the calls", async (t) => {
      const maildir = join(temporaryDirectory(t, "delivery"), "box");
      await using executor = await open(t, { ...tuning, maxBatch: 3 });
      const ids = await Promise.all(
        Array.from({ length: 20 }, (_, i) => delivered(executor, maildir, encode(`${i}\n`))),
      );
      const sequence = ids.map((id) => Number(/Q(\d+)\./.exec(id)?.[1]));
      assert.deepEqual(
        sequence,
        sequence.toSorted((a, b) => a - b),
      );
    });

    test("flags put a message into cur/; receivedAt becomes the file's modification time", async (t) => {
      const maildir = join(temporaryDirectory(t, "delivery"), "box");
      await using executor = await open(t, tuning);
      const receivedAt = new Date("2001-02-03T04:05:06Z");
      const id = await delivered(executor, maildir, encode("seen\n"), { flags: "SF", receivedAt });
      const [name = ""] = await names(maildir, "cur");
      assert.equal(name, `${id.replace(/:2,.*/, "")}:2,FS`);
      assert.equal((await stat(join(maildir, "cur", name))).mtimeMs, receivedAt.getTime());
      assert.deepEqual(await names(maildir), []);
    });
  });
}

for (const [label, open] of modes) {
  test(`${label}: messages that arrive during a flush form the next batch`, async (t) => {
    const maildir = join(temporaryDirectory(t, "delivery"), "box");
    await using executor = await open(t, { maxConcurrentFlushes: 1 });
    const first = executor.submit(maildir, encode("first\n"));
    const rest = await new Promise<{ batchSize: number }[]>((resolve, reject) => {
      const asSoonAsTheFirstRuns = () => {
        if (executor.stats().flushesInProgress === 0) {
          setImmediate(asSoonAsTheFirstRuns);
          return;
        }
        const several = Array.from({ length: 9 }, () => executor.submit(maildir, encode("next\n")));
        Promise.all(several).then(resolve, reject);
      };
      asSoonAsTheFirstRuns();
    });
    assert.equal((await first).batchSize, 1);
    assert.deepEqual(
      rest.map(({ batchSize }) => batchSize),
      Array(9).fill(9),
    );
  });

  test(`${label}: the caller's buffer has its bytes after the call and is not detached`, async (t) => {
    const maildir = join(temporaryDirectory(t, "delivery"), "box");
    await using executor = await open(t);
    const body = Buffer.from("unchanged\n");
    await delivered(executor, maildir, body);
    assert.equal(body.toString(), "unchanged\n");
  });

  test(`${label}: a spooled body is stored after its head`, async (t) => {
    const root = temporaryDirectory(t, "delivery");
    const file = join(root, "spooled");
    const content = "x".repeat(3_000_000);
    await writeFile(file, content);
    const head = encode("Delivered-To: a@b\n");
    await using executor = await open(t);
    const waiting = delivered(executor, join(root, "box"), {
      head,
      file,
      size: head.length + content.length,
    });
    const id = await waiting;
    const stored = await readFile(join(root, "box", "new", id), "utf8");
    assert.equal(stored, `Delivered-To: a@b\n${content}`);
  });

  test(`${label}: an abort removes a queued message; a message in a batch is delivered`, async (t) => {
    const maildir = join(temporaryDirectory(t, "delivery"), "box");
    await using executor = await open(t, { maxBatch: 1, maxConcurrentFlushes: 1 });
    const abort = new AbortController();
    const first = delivered(executor, maildir, encode("first\n"), { signal: abort.signal });
    const second = delivered(executor, maildir, encode("second\n"), { signal: abort.signal });
    await new Promise<void>((resolve) => {
      const poll = () => (executor.stats().flushesInProgress ? resolve() : setImmediate(poll));
      poll();
    });
    abort.abort(new Error("gone"));
    await assert.rejects(second, /gone/);
    const id = await first;
    assert.deepEqual(await names(maildir), [id]);
  });

  test(`${label}: calls beyond maxPending wait in order and do not fail`, async (t) => {
    const maildir = join(temporaryDirectory(t, "delivery"), "box");
    await using executor = await open(t, { maxBatch: 2, maxPending: 2 });
    const all = Array.from({ length: 12 }, (_, i) =>
      delivered(executor, maildir, encode(`${i}\n`)),
    );
    assert.equal(executor.stats().pending, 2);
    assert.equal(executor.stats().waiting, 10);
    const ids = await Promise.all(all);
    const sequence = ids.map((id) => Number(/Q(\d+)\./.exec(id)?.[1]));
    assert.deepEqual(
      sequence,
      sequence.toSorted((a, b) => a - b),
    );
  });

  test(`${label}: a body above maxPendingBytes is refused with ERR_DELIVERY_TOO_LARGE`, async (t) => {
    const maildir = join(temporaryDirectory(t, "delivery"), "box");
    await using executor = await open(t, { maxPendingBytes: 1000 });
    await assert.rejects(
      delivered(executor, maildir, new Uint8Array(1001)),
      failsWith("ERR_DELIVERY_TOO_LARGE"),
    );
  });

  test(`${label}: arguments of another type are refused with ERR_DELIVERY_OPTION`, async (t) => {
    const maildir = join(temporaryDirectory(t, "delivery"), "box");
    await using executor = await open(t);
    const wrong: [unknown, unknown, RegExp][] = [
      ["", encode("x"), /path must be a directory; got ""/],
      [7, encode("x"), /got 7/],
      ["a\0b", encode("x"), /path must be/],
      [maildir, "text", /body must be .* got string/],
      [maildir, null, /got null/],
      [maildir, { head: encode("x"), file: "/f" }, /body must be/],
    ];
    for (const [path, body, message] of wrong) {
      const refused = delivered(executor, path as string, body as Uint8Array);
      await assert.rejects(refused, { code: "ERR_DELIVERY_OPTION", message });
    }
  });

  test(`${label}: a flushed event has messages, mailboxes, bytes and duration`, async (t) => {
    const root = temporaryDirectory(t, "delivery");
    const events: DeliveryEvent[] = [];
    await using executor = await open(t, { onEvent: (event) => events.push(event) });
    await Promise.all([
      delivered(executor, join(root, "a"), encode("1\n")),
      delivered(executor, join(root, "b"), encode("22\n")),
    ]);
    const flushed = events.find(({ kind }) => kind === "flushed");
    assert.ok(flushed?.kind === "flushed");
    assert.ok(flushed.durationMs > 0);
    assert.deepEqual(
      { ...flushed, durationMs: 0 },
      { kind: "flushed", messages: 2, failed: 0, mailboxes: 2, bytes: 5, durationMs: 0 },
    );
    assert.equal(executor.stats().delivered, 2);
  });

  test(`${label}: a mailbox removed between two messages is created again`, async (t) => {
    const maildir = join(temporaryDirectory(t, "delivery"), "box");
    await using executor = await open(t);
    await delivered(executor, maildir, encode("one\n"));
    await rm(maildir, { recursive: true });
    const id = await delivered(executor, maildir, encode("two\n"));
    assert.deepEqual(await names(maildir), [id]);
  });

  test(`${label}: a mailbox replaced by a symbolic link below the mail root is refused`, async (t) => {
    const mailRoot = temporaryDirectory(t, "delivery");
    const elsewhere = temporaryDirectory(t, "delivery");
    await mkdir(join(elsewhere, "new"));
    await symlink(elsewhere, join(mailRoot, "bob"));
    await using executor = await open(t, { mailRoot });
    await assert.rejects(
      delivered(executor, join(mailRoot, "bob"), encode("for bob\n")),
      failsWith("ERR_DELIVERY_FAILED"),
    );
    assert.deepEqual(await readdir(join(elsewhere, "new")), []);
  });
}

test("an option out of range is refused with the value received", async () => {
  const wrong = [
    [{ maxBatch: 0 }, /maxBatch must be a whole number from 1 up; got 0/],
    [{ maxBatch: 2.5 }, /got 2\.5/],
    [{ maxWaitMs: -1 }, /maxWaitMs .* got -1/],
    [{ maxWaitMs: Number.POSITIVE_INFINITY }, /maxWaitMs .* got Infinity/],
    [{ maxConcurrentFlushes: 0 }, /maxConcurrentFlushes .* got 0/],
    [{ maxPending: 3 }, /maxPending must be a whole number from 64 up; got 3/],
    [{ maxBatchBytes: 100, maxPendingBytes: 10 }, /maxBatchBytes .* got 100/],
    [
      { commit: "fast" as "synced" },
      /commit must be "synced" or \{ journal: directory \}; got "fast"/,
    ],
  ] as const;
  for (const [options, message] of wrong) {
    await assert.rejects(DeliveryExecutor.open(options), { code: "ERR_DELIVERY_OPTION", message });
  }
});
