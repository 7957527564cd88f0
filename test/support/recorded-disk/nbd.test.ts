import assert from "node:assert/strict";
import { test } from "node:test";
import * as nbd from "./nbd.ts";

function requestBytes(type: number, flags: number, offset: number, data: Buffer | number): Buffer {
  const header = Buffer.alloc(28);
  header.writeUInt32BE(0x25609513, 0);
  header.writeUInt16BE(flags, 4);
  header.writeUInt16BE(type, 6);
  header.writeBigUInt64BE(77n, 8);
  header.writeBigUInt64BE(BigInt(offset), 16);
  header.writeUInt32BE(typeof data === "number" ? data : data.length, 24);
  return typeof data === "number" ? header : Buffer.concat([header, data]);
}

function received(...chunks: Buffer[]): nbd.Received {
  const all = new nbd.Received();
  for (const chunk of chunks) all.push(chunk);
  return all;
}

test("the NBD greeting offers the fixed newstyle handshake", () => {
  assert.equal(nbd.encodeGreeting().toString("latin1"), "NBDMAGICIHAVEOPT\0\x03");
});

test("a request that arrives byte by byte is decoded at its last byte", () => {
  const whole = requestBytes(nbd.command.write, 1, 4096, Buffer.from("x".repeat(512)));
  const all = new nbd.Received();
  for (const byte of whole.subarray(0, -1)) {
    all.push(Buffer.from([byte]));
    assert.equal(nbd.decodeRequest(all), undefined);
  }
  all.push(whole.subarray(-1));
  const request = nbd.decodeRequest(all);
  assert.deepEqual(
    { ...request, data: request?.data.toString() },
    { command: 1, fua: true, cookie: 77n, offset: 4096, length: 512, data: "x".repeat(512) },
  );
});

test("requests that arrive in one chunk are decoded one by one", () => {
  const all = received(
    Buffer.concat([
      requestBytes(nbd.command.write, 0, 0, Buffer.alloc(512, 7)),
      requestBytes(nbd.command.read, 0, 512, 1024),
      requestBytes(nbd.command.flush, 0, 0, 0),
    ]),
  );
  assert.deepEqual(nbd.decodeRequest(all)?.data, Buffer.alloc(512, 7));
  const read = nbd.decodeRequest(all);
  assert.deepEqual(
    [read?.command, read?.offset, read?.length, read?.data.length],
    [0, 512, 1024, 0],
  );
  assert.equal(nbd.decodeRequest(all)?.command, nbd.command.flush);
  assert.equal(nbd.decodeRequest(all), undefined);
});

test("the decoder throws at bytes without the magic of a request", () => {
  assert.throws(() => nbd.decodeRequest(received(Buffer.alloc(28))), /without its magic/);
});

test("an option is decoded when the last byte of its data has arrived", () => {
  const option = Buffer.concat([Buffer.from("IHAVEOPT"), Buffer.from([0, 0, 0, 7, 0, 0, 0, 6])]);
  const all = received(option, Buffer.from("12345"));
  assert.equal(nbd.decodeOption(all), undefined);
  all.push(Buffer.from("6rest"));
  assert.deepEqual(nbd.decodeOption(all), { option: nbd.option.go });
  assert.equal(all.take(4)?.toString(), "rest");
});

test("the export announces its size, flush, forced writes and write-zeroes", () => {
  const info = nbd.encodeExportInfo(320 * 1024 * 1024);
  assert.equal(info.readBigUInt64BE(2), 335544320n);
  assert.equal(info.readUInt16BE(10), 1 | 4 | 8 | 64);
  assert.equal(nbd.encodeExport(512, false).length, 10);
  assert.equal(nbd.encodeExport(512, true).length, 134);
});

test("a reply carries the cookie of its request", () => {
  assert.equal(
    nbd.encodeReply(77n, nbd.error.io).toString("hex"),
    "67446698" + "00000005" + "000000000000004d",
  );
});
