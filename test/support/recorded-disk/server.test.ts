/** The disk's server over its socket, without root and without a mounted file system. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { atEnd, temporaryDirectory } from "../temporary.ts";
import { command, error, option, Received } from "./nbd.ts";
import { imagesAfter } from "./recording.ts";
import { DiskServer } from "./server.ts";

const sizeBytes = 1024 * 1024;
const sector = 512;

interface Disk {
  readonly server: DiskServer;
  /** Sends a request, resolves with the error code of its reply. */
  readonly ask: (type: number, offset?: number, data?: Buffer | number, flags?: number) => Answer;
  /** Resolves with the next bytes after the replies read so far. */
  readonly next: (count: number) => Promise<Buffer>;
}
type Answer = Promise<number>;

async function diskFor(t: TestContext): Promise<Disk> {
  const directory = temporaryDirectory(t, "nbd");
  const server = new DiskServer(sizeBytes, { flushMs: 0, flushes: "work", writes: "work" }, true);
  await server.listen(join(directory, "nbd"));
  const socket = connect(join(directory, "nbd"));
  atEnd(t, () => {
    socket.destroy();
    server.close();
  });
  const next = reader(socket);
  await next(18);
  socket.write(Buffer.from([0, 0, 0, 3]));
  socket.write(
    Buffer.concat([Buffer.from("IHAVEOPT"), Buffer.from([0, 0, 0, option.go]), Buffer.alloc(4)]),
  );
  const info = await next(20 + 12 + 20);
  assert.equal(info.readBigUInt64BE(22), BigInt(sizeBytes));
  return {
    server,
    next,
    ask: async (type, offset = 0, data = 0, flags = 0) => {
      const header = Buffer.alloc(28);
      header.writeUInt32BE(0x25609513, 0);
      header.writeUInt16BE(flags, 4);
      header.writeUInt16BE(type, 6);
      header.writeBigUInt64BE(BigInt(offset), 16);
      header.writeUInt32BE(typeof data === "number" ? data : data.length, 24);
      socket.write(typeof data === "number" ? header : Buffer.concat([header, data]));
      return (await next(16)).readUInt32BE(4);
    },
  };
}

function reader(socket: Socket): (count: number) => Promise<Buffer> {
  const received = new Received();
  socket.on("data", (chunk: Buffer) => received.push(chunk));
  return async (count) => {
    for (;;) {
      const bytes = received.take(count);
      if (bytes !== undefined) return bytes;
      await once(socket, "data");
    }
  };
}

const filled = (value: number, sectors = 1) => Buffer.alloc(sectors * sector, value);

test("written bytes are read back, and other bytes are zeros", async (t) => {
  const { ask, next } = await diskFor(t);
  assert.equal(await ask(command.write, sector, filled(7)), error.none);
  assert.equal(await ask(command.read, 0, 3 * sector), error.none);
  assert.deepEqual(await next(3 * sector), Buffer.concat([filled(0), filled(7), filled(0)]));
  assert.equal(await ask(command.writeZeroes, sector, sector), error.none);
  await ask(command.read, sector, sector);
  assert.deepEqual(await next(sector), filled(0));
});

test("a flush covers the writes before it, a forced write covers only itself", async (t) => {
  const { ask, server } = await diskFor(t);
  await ask(command.write, 0, filled(1));
  await ask(command.write, sector, filled(2));
  await ask(command.flush);
  await ask(command.write, 0, filled(3));
  await ask(command.write, 0, filled(4), 1);
  const { writes, flushes } = server.recording;
  assert.equal(writes.length, 4);
  const covered = flushes.map(({ first, end }) => [first, end]);
  assert.deepEqual(covered, [
    [0, 2],
    [3, 4],
  ]);
  for (const { startedNs, completedNs } of flushes) assert.ok(startedNs <= completedNs);
  assert.deepEqual(server.counters, {
    flushes: 2,
    writes: 4,
    bytesWritten: 4 * sector,
    stalled: 0,
  });
});

test("a failed flush gets EIO and covers no write; a failed write changes nothing", async (t) => {
  const { ask, server, next } = await diskFor(t);
  await ask(command.write, 0, filled(1));
  server.configure({ flushes: "fail", writes: "fail" });
  assert.equal(await ask(command.flush), error.io);
  assert.equal(await ask(command.write, 0, filled(2)), error.io);
  assert.deepEqual([server.recording.writes.length, server.recording.flushes.length], [1, 0]);
  await ask(command.read, 0, sector);
  assert.deepEqual(await next(sector), filled(1));
});

test("a stalled flush is answered when configure lets flushes work again", async (t) => {
  const { ask, server } = await diskFor(t);
  server.configure({ flushes: "stall" });
  const flushed = ask(command.flush);
  while (server.counters.stalled === 0) await turn();
  server.configure({ flushes: "work" });
  assert.equal(await flushed, error.none);
});

test("requests beyond the disk, for part of a sector or unknown get EINVAL", async (t) => {
  const { ask } = await diskFor(t);
  assert.equal(await ask(command.read, sizeBytes, sector), error.invalid);
  assert.equal(await ask(command.write, 100, filled(1)), error.invalid);
  assert.equal(await ask(command.write, sizeBytes - sector, filled(1, 2)), error.invalid);
  assert.equal(await ask(99), error.invalid);
});

test("a disk starts with its image, and a cut loses no byte of the image", async (t) => {
  const { server, ask, next } = await diskFor(t);
  const directory = temporaryDirectory(t, "image");
  const image = Buffer.alloc(sizeBytes);
  image.fill("old", 100 * sector, 102 * sector);
  writeFileSync(join(directory, "image"), image);
  server.load(join(directory, "image"));

  assert.equal(await ask(command.read, 100 * sector, 2 * sector), error.none);
  assert.ok((await next(2 * sector)).equals(image.subarray(100 * sector, 102 * sector)));
  await ask(command.write, 0, Buffer.alloc(sector, "x"));
  const replayed = Buffer.alloc(sizeBytes);
  const end = { atNs: Number.POSITIVE_INFINITY, keep: "none", seed: 1 } as const;
  for (const { extents } of imagesAfter(server.recording, [end])) {
    for (const { offset, bytes } of extents) {
      replayed.set(bytes.subarray(0, sizeBytes - offset), offset);
    }
  }
  assert.ok(replayed.equals(image));
});
