import assert from "node:assert/strict";
import { test } from "node:test";
import { type ReceiveOptions, Receiver } from "./message-receiver.ts";

const options: ReceiveOptions = {
  head: Buffer.from("Received: here\n"),
  maxMessageBytes: 1_000,
  lineEndings: "lf",
  bareNewlines: "reject",
};

/** Stands in for memory and spool, and notes what it is given. */
function store(write: (bytes: Uint8Array) => Promise<void> | undefined = () => undefined) {
  const kept: Uint8Array[] = [];
  return {
    kept: () => Buffer.concat(kept).toString(),
    write(bytes: Uint8Array) {
      kept.push(bytes);
      return write(bytes);
    },
    end: () => undefined,
  };
}

test("of a message past the limit nothing more is kept", async () => {
  const incoming = store();
  const receiver = new Receiver(incoming, options);
  for (let index = 0; index < 100; index += 1)
    void receiver.write(Buffer.from(`${"x".repeat(98)}\r\n`));
  const receipt = await receiver.end();
  assert.ok(receipt.kind === "refused");
  assert.equal(receipt.reply.code, 552);
  assert.equal(receiver.received, 10_000);
  assert.ok(incoming.kept().length <= options.head.length + 1_000);
});

test("what is kept is the head and the stored form of the message", async () => {
  const incoming = store();
  const receiver = new Receiver(incoming, options);
  void receiver.write(Buffer.from("A: b\r\n\r\nc\r\n"));
  assert.equal((await receiver.end()).kind, "whole");
  assert.equal(incoming.kept(), "Received: here\nA: b\n\nc\n");
});

test("whoever writes is asked to wait while a write is under way, and so is the end", async () => {
  const writing = Promise.withResolvers<void>();
  let writes = 0;
  const incoming = store(() => {
    writes += 1;
    return writes === 2 ? writing.promise : undefined;
  });
  const receiver = new Receiver(incoming, options);
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

test("after a write that failed nothing more is written, and the fault is told at the end", async () => {
  const fault = new Error("no space");
  let writes = 0;
  const incoming = store(() => {
    writes += 1;
    return writes === 2 ? Promise.reject(fault) : undefined;
  });
  const receiver = new Receiver(incoming, options);
  await receiver.write(Buffer.from("a: b\r\n\r\n"));
  await receiver.write(Buffer.from("c\r\n"));
  assert.deepEqual(await receiver.end(), { kind: "error", error: fault });
  assert.equal(writes, 2);
});
