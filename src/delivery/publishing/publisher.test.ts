/**
 * The order of steps in a publisher's round, with a log that answers only when the test lets it.
 */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { temporaryDirectory } from "../../../test/support/temporary.ts";
import type { Marks } from "../../journal/index.ts";
import { createKnownMailboxes } from "../../maildir/index.ts";
import { systemClock as clock, nodeFileSystem as fileSystem } from "../../system/index.ts";
import { localFileWorker } from "./file-worker.ts";
import { publication } from "./publication.ts";
import { Publisher } from "./publisher.ts";
import { Staging } from "./staging.ts";

test("no file is renamed before DURABLE is in the log; PUBLISHED follows the rename", async (t) => {
  const root = temporaryDirectory(t, "publisher");
  for (const part of ["new", "cur", "tmp"]) mkdirSync(join(root, "bob", part), { recursive: true });
  mkdirSync(join(root, "staging"));

  const asked: { marks: Partial<Marks>; answer: () => void }[] = [];
  const nextMark = () =>
    new Promise<(typeof asked)[number]>((resolve) => {
      const poll = () => {
        const mark = asked.shift();
        if (mark) resolve(mark);
        else setImmediate(poll);
      };
      poll();
    });
  const fileWorker = localFileWorker(fileSystem, clock);
  const publisher = new Publisher({
    fileSystem,
    clock,
    fileWorker,
    root,
    known: createKnownMailboxes(),
    publishWithinMs: 0,
    staging: new Staging(join(root, "staging"), {
      fileSystem,
      clock,
      fileWorker,
      openFileSystemSync: async () => undefined,
    }),
    marks: { durable: 0n, published: 0n },
    mark: (marks) => new Promise((answer) => asked.push({ marks, answer })),
    logAgain: () => Promise.reject(new Error("nothing is logged again here")),
    onEvent: () => {},
  });
  const id = "1.M1.h,S=4";
  const record = {
    mailbox: "bob",
    volume: "v",
    id,
    folder: "new" as const,
    fileName: id,
    receivedMs: undefined,
    tries: 0,
    head: Buffer.from("body"),
    large: undefined,
  };
  publisher.add([publication(1n, record, join(root, "bob"))], 1n);
  publisher.goLive();

  const durable = await nextMark();
  assert.deepEqual(durable.marks, { durable: 1n });
  // After these turns a step that does not wait for the log would be done.
  for (let turn = 0; turn < 50; turn += 1) await new Promise((go) => setImmediate(go));
  assert.deepEqual(readdirSync(join(root, "bob", "new")), []);
  assert.deepEqual(asked, []);

  durable.answer();
  const published = await nextMark();
  assert.deepEqual(published.marks, { published: 1n });
  assert.deepEqual(readdirSync(join(root, "bob", "new")), [id]);
  published.answer();
  await publisher.close();
});
