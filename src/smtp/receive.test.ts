import assert from "node:assert/strict";
import { PassThrough, Readable } from "node:stream";
import { test } from "node:test";
import { type ReceiveOptions, receive } from "./receive.ts";

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
    async end() {},
  };
}

test("of a message past the limit nothing more is kept, and all of it is read", async () => {
  const incoming = store();
  const chunks = Array.from({ length: 100 }, () => Buffer.from(`${"x".repeat(98)}\r\n`));
  const stream = Readable.from(chunks);
  const receipt = await receive(stream, incoming, options);
  assert.ok(receipt.kind === "refused");
  assert.equal(receipt.reply.code, 552);
  assert.ok(incoming.kept().length <= options.head.length + 1_000);
  assert.equal(stream.readableEnded, true);
});

test("what is kept is the head and the stored form of the message", async () => {
  const incoming = store();
  const receipt = await receive(
    Readable.from([Buffer.from("A: b\r\n\r\nc\r\n")]),
    incoming,
    options,
  );
  assert.equal(receipt.kind, "whole");
  assert.equal(incoming.kept(), "Received: here\nA: b\n\nc\n");
});

test("while a write is under way no more is read, and a client that goes is told of after it", async () => {
  const writing = Promise.withResolvers<void>();
  let writes = 0;
  const incoming = store(() => {
    writes += 1;
    return writes === 2 ? writing.promise : undefined;
  });
  const stream = new PassThrough();
  let receipt: unknown;
  const received = receive(stream, incoming, options).then((value) => {
    receipt = value;
  });
  stream.write("one\r\n\r\n");
  stream.write("two\r\n");
  await turn();
  assert.equal(writes, 2);
  assert.equal(stream.isPaused(), true);
  stream.destroy();
  await turn();
  assert.equal(receipt, undefined);
  writing.resolve();
  await received;
  assert.deepEqual(receipt, { kind: "aborted", received: 7 });
});

test("after a write that failed nothing more is written, and the fault is told at the end", async () => {
  const fault = new Error("no space");
  let writes = 0;
  const incoming = store(() => {
    writes += 1;
    return Promise.reject(fault);
  });
  const receipt = await receive(
    Readable.from([Buffer.from("a: b\r\n\r\n"), Buffer.from("c\r\n")]),
    incoming,
    options,
  );
  assert.deepEqual(receipt, { kind: "error", error: fault });
  assert.ok(writes <= 2);
});

async function turn(): Promise<void> {
  for (let index = 0; index < 3; index += 1) await new Promise((resolve) => setImmediate(resolve));
}
