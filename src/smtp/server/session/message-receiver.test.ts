import assert from "node:assert/strict";
import { test } from "node:test";
import { MessageReceiver, type MessageReceiverOptions } from "./message-receiver.ts";

const options: MessageReceiverOptions = {
  head: Buffer.from("Received: here\n"),
  maxMessageBytes: 1_000,
  lineEndings: "lf",
  bareNewlines: "reject",
};

/** Replaces memory and spool, and records the bytes written. */
function store(write: (bytes: Uint8Array) => Promise<void> | undefined = () => undefined) {
  const stored: Uint8Array[] = [];
  return {
    stored: () => Buffer.concat(stored).toString(),
    write(bytes: Uint8Array) {
      stored.push(bytes);
      return write(bytes);
    },
    end: () => undefined,
  };
}

test("after maxMessageBytes nothing more is stored", async () => {
  const incoming = store();
  const receiver = new MessageReceiver(incoming, options);
  for (let index = 0; index < 100; index += 1)
    void receiver.write(Buffer.from(`${"x".repeat(98)}\r\n`));
  const result = await receiver.end();
  assert.ok(result.kind === "refused");
  assert.equal(result.reply.code, 552);
  assert.equal(receiver.received, 10_000);
  assert.ok(incoming.stored().length <= options.head.length + 1_000);
});

test("the head and the message with its stored line endings are written", async () => {
  const incoming = store();
  const receiver = new MessageReceiver(incoming, options);
  void receiver.write(Buffer.from("A: b\r\n\r\nc\r\n"));
  assert.equal((await receiver.end()).kind, "complete");
  assert.equal(incoming.stored(), "Received: here\nA: b\n\nc\n");
});

test("write, idle and end wait for a write in progress", async () => {
  const writing = Promise.withResolvers<void>();
  let writes = 0;
  const incoming = store(() => {
    writes += 1;
    return writes === 2 ? writing.promise : undefined;
  });
  const receiver = new MessageReceiver(incoming, options);
  const wait = receiver.write(Buffer.from("one\r\n\r\ntwo\r\n"));
  assert.ok(wait);
  let isOver = false;
  const ends = Promise.all([wait, receiver.idle(), receiver.end()]).then(() => {
    isOver = true;
  });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(isOver, false);
  writing.resolve();
  await ends;
  assert.equal(receiver.write(Buffer.from("three\r\n")), undefined);
});

test("after a failed write nothing more is written, and end() returns the error", async () => {
  const failure = new Error("no space");
  let writes = 0;
  const incoming = store(() => {
    writes += 1;
    return writes === 2 ? Promise.reject(failure) : undefined;
  });
  const receiver = new MessageReceiver(incoming, options);
  await receiver.write(Buffer.from("a: b\r\n\r\n"));
  await receiver.write(Buffer.from("c\r\n"));
  assert.deepEqual(await receiver.end(), { kind: "error", error: failure });
  assert.equal(writes, 2);
});
