/**
 * Holds incoming messages: small ones in memory, large ones in files of a spool directory.
 *
 * A spool file is a scratch file. Its message is not acknowledged before `Deliver` has made its own
 * durable copy, so nothing here is ever flushed, and what a crash leaves is removed at the next start.
 * Files are made 0600 with O_EXCL|O_NOFOLLOW, so that nobody can read along or put a link in the way.
 */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Message } from "../../../mail/index.ts";
import { SmtpError } from "../../errors.ts";
import type { SmtpLimits } from "../limits.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;
const prefix = "incoming-";
/** Tells the files of this process, all its servers, from those of one that had its pid before. */
const ownPrefix = `${prefix}${process.pid}-${Math.trunc(performance.timeOrigin).toString(36)}-`;
let fileCount = 0;
const readBytes = 64 * 1024;
/** Octets gathered before they are written to a file. */
const writeBytes = 256 * 1024;
const maxRecentPieces = 256;

export class Spool {
  readonly #directory: string;
  readonly #limits: SmtpLimits;
  /** Octets of messages in memory now. */
  memoryBytes = 0;
  /** Messages begun and not discarded. */
  messages = 0;

  private constructor(directory: string, limits: SmtpLimits) {
    this.#directory = directory;
    this.#limits = limits;
  }

  /** Makes the directory if it is missing and removes what a crash left in it. */
  static async open(directory: string, limits: SmtpLimits): Promise<Spool> {
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
      for (const name of await readdir(directory)) {
        if (name.startsWith(prefix) && !name.startsWith(ownPrefix))
          await unlink(join(directory, name));
      }
    } catch (cause) {
      const text = `spool directory ${directory} cannot be used; check that it can be written`;
      throw new SmtpError("ERR_SMTP_SPOOL_UNUSABLE", text, { cause });
    }
    return new Spool(directory, limits);
  }

  /** Begins a message; `expectedBytes` is what the client announced, if it did. */
  begin(expectedBytes = 0): IncomingMessage {
    this.messages += 1;
    return new IncomingMessage(this, expectedBytes > this.#limits.maxMemoryMessageBytes);
  }

  /** Whether a message of `held` octets may grow by `more` in memory; if so, they are counted. */
  reserve(held: number, more: number): boolean {
    const { maxMemoryMessageBytes, maxMemoryBytes } = this.#limits;
    const fits = held + more <= maxMemoryMessageBytes && this.memoryBytes + more <= maxMemoryBytes;
    if (fits) this.memoryBytes += more;
    return fits;
  }

  async createFile(): Promise<{ path: string; handle: FileHandle }> {
    fileCount += 1;
    const path = join(this.#directory, `${ownPrefix}${fileCount}`);
    return { path, handle: await open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600) };
  }
}

/** One message on its way in. */
export class IncomingMessage {
  size = 0;
  readonly #spool: Spool;
  #pieces: Uint8Array[] = [];
  /** The last pieces; merged when they are many, so that octets sent singly cost no object each. */
  #recent: Uint8Array[] = [];
  #reservedBytes = 0;
  #unwrittenBytes = 0;
  #toFile: boolean;
  #file: { path: string; handle: FileHandle } | undefined;

  constructor(spool: Spool, toFile: boolean) {
    this.#spool = spool;
    this.#toFile = toFile;
  }

  /** Adds octets. Returns a promise when the caller has to wait before it adds more. */
  write(bytes: Uint8Array): Promise<void> | undefined {
    this.size += bytes.length;
    this.#recent.push(bytes);
    if (this.#recent.length >= maxRecentPieces) this.#pieces.push(this.#takeRecent());
    if (!this.#toFile && this.#spool.reserve(this.#reservedBytes, bytes.length)) {
      this.#reservedBytes += bytes.length;
      return undefined;
    }
    this.#toFile = true;
    this.#unwrittenBytes += bytes.length;
    return this.#unwrittenBytes < writeBytes ? undefined : this.#flush();
  }

  /** Ends the message. Returns a promise when it takes time until all of it can be read. */
  end(): Promise<void> | undefined {
    return this.#toFile ? this.#flush() : undefined;
  }

  /** The whole message; valid from {@link end} until {@link discard}. */
  message(): Message {
    const { size } = this;
    const file = this.#file;
    if (file) {
      return {
        size,
        file: file.path,
        bytes: () => readFile(file.path),
        stream: () => readPieces(file.path),
      };
    }
    const whole = this.#takeAll();
    return {
      size,
      bytes: async () => whole,
      stream: async function* () {
        yield whole;
      },
    };
  }

  /** Gives back memory, and removes the spool file if there is one. To be called once. */
  discard(): Promise<void> | undefined {
    this.#pieces = [];
    this.#recent = [];
    this.#releaseMemory();
    this.#spool.messages -= 1;
    return this.#file && removed(this.#file);
  }

  async #flush(): Promise<void> {
    const bytes = this.#takeAll();
    this.#file ??= await this.#spool.createFile();
    await writeAll(this.#file.handle, bytes);
    this.#releaseMemory();
    this.#unwrittenBytes = 0;
  }

  #takeAll(): Uint8Array {
    const recent = this.#takeRecent();
    if (this.#pieces.length === 0) return recent;
    const whole = Buffer.concat([...this.#pieces, recent]);
    this.#pieces = [];
    return whole;
  }

  #takeRecent(): Uint8Array {
    const [first] = this.#recent;
    const merged = first && this.#recent.length === 1 ? first : Buffer.concat(this.#recent);
    this.#recent = [];
    return merged;
  }

  #releaseMemory(): void {
    this.#spool.memoryBytes -= this.#reservedBytes;
    this.#reservedBytes = 0;
  }
}

async function removed({ path, handle }: { path: string; handle: FileHandle }): Promise<void> {
  await handle.close();
  await unlink(path);
}

async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  let written = 0;
  while (written < bytes.length) {
    written += (await handle.write(bytes, written)).bytesWritten;
  }
}

async function* readPieces(path: string): AsyncGenerator<Uint8Array> {
  await using handle = await open(path, constants.O_RDONLY | O_NOFOLLOW);
  for (;;) {
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(readBytes), 0, readBytes);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}
