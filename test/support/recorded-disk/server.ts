/**
 * A disk with a volatile write cache, served by NBD on a UNIX socket.
 *
 * It holds the disk in memory, records every write and flush in the order of their arrival, can
 * make each flush take a set time, and can fail or stall writes and flushes on request. A flush
 * covers the writes that arrived before the flush *arrived*, never those that arrive while it runs.
 *
 * A completion is stamped before its reply is sent, so every action after the reply is later. The
 * clock is `process.hrtime`, one for the whole machine: the stamp of an acknowledgement in a log is
 * later than the completion of the flush on which the acknowledgement relied.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import * as nbd from "./nbd.ts";
import type { Flush, Recording, Write } from "./recording.ts";
import { isZero, SparseBytes } from "./sparse-bytes.ts";

/** Whether a flush or write works, fails with an I/O error, or waits for `configure`. */
export type Behaviour = "work" | "fail" | "stall";

export interface DiskSettings {
  /** Time of every flush, in milliseconds; timers may end up to 1 ms early. */
  readonly flushMs: number;
  readonly flushes: Behaviour;
  readonly writes: Behaviour;
}

export interface DiskCounters {
  readonly flushes: number;
  readonly writes: number;
  readonly bytesWritten: number;
  /** Requests that wait until {@link DiskServer.configure} runs them. */
  readonly stalled: number;
}

const loadBytes = 64 * 1024;

/** Nanoseconds of the monotonic clock that all processes of the machine share. */
export function nowNs(): number {
  return Number(process.hrtime.bigint());
}

export class DiskServer {
  readonly #sizeBytes: number;
  readonly #record: boolean;
  readonly #server: Server;
  readonly #live = new SparseBytes();
  readonly #writes: Write[] = [];
  readonly #flushes: Flush[] = [];
  #settings: DiskSettings;
  readonly #stalled: (() => void)[] = [];
  #counters = { flushes: 0, writes: 0, bytesWritten: 0 };

  constructor(sizeBytes: number, settings: DiskSettings, record: boolean) {
    this.#sizeBytes = sizeBytes;
    this.#settings = settings;
    this.#record = record;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  listen(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject).listen(path, resolve);
    });
  }

  close(): void {
    this.#server.close();
  }

  get counters(): DiskCounters {
    return { ...this.#counters, stalled: this.#stalled.length };
  }

  /** All writes and flushes so far; empty unless the disk records. */
  get recording(): Recording {
    return { sizeBytes: this.#sizeBytes, writes: this.#writes, flushes: this.#flushes };
  }

  /** Loads an image; its content is durable from the start. */
  load(image: string): void {
    const file = openSync(image, "r");
    const atNs = nowNs();
    for (let offset = 0; offset < this.#sizeBytes; offset += loadBytes) {
      const bytes = Buffer.alloc(Math.min(loadBytes, this.#sizeBytes - offset));
      readSync(file, bytes, 0, bytes.length, offset);
      if (isZero(bytes)) continue;
      this.#live.write(offset, bytes);
      if (this.#record) this.#writes.push({ atNs, offset, bytes });
    }
    closeSync(file);
    const end = this.#writes.length;
    if (this.#record) this.#flushes.push({ startedNs: atNs, completedNs: atNs, first: 0, end });
  }

  /** Changes the settings, and runs the stalled requests. */
  configure(change: Partial<DiskSettings>): void {
    this.#settings = { ...this.#settings, ...change };
    for (const work of this.#stalled.splice(0)) work();
  }

  #serve(socket: Socket): void {
    const received = new nbd.Received();
    socket.write(nbd.encodeGreeting());
    let phase: "flags" | "options" | "requests" = "flags";
    let padding = false;
    const step = (): boolean => {
      if (phase === "flags") {
        const flags = nbd.decodeClientFlags(received);
        if (flags === undefined) return false;
        padding = flags.padding;
        phase = "options";
        return true;
      }
      if (phase === "options") {
        const asked = nbd.decodeOption(received);
        if (asked === undefined) return false;
        if (this.#answerOption(socket, asked.option, padding)) phase = "requests";
        return true;
      }
      const request = nbd.decodeRequest(received);
      if (request === undefined) return false;
      this.#answer(socket, request);
      return true;
    };
    socket.on("data", (chunk: Buffer) => {
      received.push(chunk);
      while (step()) {}
    });
    socket.on("error", () => socket.destroy());
  }

  /** Answers one option of the handshake; returns whether it was the last. */
  #answerOption(socket: Socket, asked: number, padding: boolean): boolean {
    const { ack, info, unsupported } = nbd.optionReplyType;
    switch (asked) {
      case nbd.option.exportName:
        socket.write(nbd.encodeExport(this.#sizeBytes, padding));
        return true;
      case nbd.option.info:
      case nbd.option.go:
        socket.write(nbd.encodeOptionReply(asked, info, nbd.encodeExportInfo(this.#sizeBytes)));
        socket.write(nbd.encodeOptionReply(asked, ack));
        return asked === nbd.option.go;
      case nbd.option.abort:
        socket.end(nbd.encodeOptionReply(asked, ack));
        return false;
      default:
        socket.write(nbd.encodeOptionReply(asked, unsupported));
        return false;
    }
  }

  #answer(socket: Socket, request: nbd.Request): void {
    const reply = (code: number): void => {
      socket.write(nbd.encodeReply(request.cookie, code));
    };
    if (request.command !== nbd.command.disconnect && !this.#inside(request)) {
      reply(nbd.error.invalid);
      return;
    }
    switch (request.command) {
      case nbd.command.read:
        reply(nbd.error.none);
        socket.write(this.#live.read(request.offset, request.length));
        return;
      case nbd.command.write:
        this.#write(request, request.data, reply);
        return;
      case nbd.command.writeZeroes:
        this.#write(request, Buffer.alloc(request.length), reply);
        return;
      case nbd.command.flush:
        this.#flush(reply);
        return;
      case nbd.command.disconnect:
        socket.end();
        return;
      default:
        reply(nbd.error.invalid);
    }
  }

  /** Whether a request covers whole sectors of this disk. */
  #inside({ offset, length }: nbd.Request): boolean {
    return offset % 512 === 0 && length % 512 === 0 && offset + length <= this.#sizeBytes;
  }

  #write({ offset, fua }: nbd.Request, bytes: Buffer, reply: (code: number) => void): void {
    this.#behaving(this.#settings.writes, reply, () => {
      this.#live.write(offset, bytes);
      this.#counters.writes++;
      this.#counters.bytesWritten += bytes.length;
      const end = this.#record ? this.#writes.push({ atNs: nowNs(), offset, bytes }) : 0;
      // A forced write is answered like a flush that covers it alone.
      if (fua) this.#complete(end - 1, end, reply);
      else reply(nbd.error.none);
    });
  }

  #flush(reply: (code: number) => void): void {
    this.#behaving(this.#settings.flushes, reply, () => {
      this.#complete(0, this.#writes.length, reply);
    });
  }

  #behaving(behaviour: Behaviour, reply: (code: number) => void, work: () => void): void {
    if (behaviour === "work") work();
    else if (behaviour === "fail") reply(nbd.error.io);
    else this.#stalled.push(work);
  }

  /** Makes the writes from `first` up to `end`, exclusive, durable, after the time of a flush. */
  #complete(first: number, end: number, reply: (code: number) => void): void {
    const startedNs = nowNs();
    const done = (): void => {
      this.#counters.flushes++;
      if (this.#record) this.#flushes.push({ startedNs, completedNs: nowNs(), first, end });
      reply(nbd.error.none);
    };
    if (this.#settings.flushMs === 0) done();
    else setTimeout(done, this.#settings.flushMs);
  }
}
