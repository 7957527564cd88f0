import assert from "node:assert/strict";
import { test } from "node:test";
import { messageFromBytes } from "./message.ts";

test("a message from bytes gives the same bytes each time, whole or as a stream", async () => {
  const bytes = Buffer.from("Subject: x\r\n\r\nhello\r\n");
  const message = messageFromBytes(bytes);
  assert.equal(message.size, bytes.length);
  for (let time = 0; time < 2; time += 1) {
    assert.equal(await message.bytes(), bytes);
    const pieces: Uint8Array[] = [];
    for await (const piece of message.stream()) pieces.push(piece);
    assert.deepEqual(pieces, [bytes]);
  }
});
