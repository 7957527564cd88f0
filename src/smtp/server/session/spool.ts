/**
 * Holds incoming messages, small ones in memory and large ones in files of a spool directory, and
 * makes the `Message` that transaction.ts gives to `Deliver`.
 *
 * A spool file is a scratch file. Its message is acknowledged only when `Deliver` has made its own
 * durable copy, so spool files are never synced, and the next start removes those that a crash
 * leaves. They are created 0600 with O_EXCL|O_NOFOLLOW: other users can neither read them nor put a
 * link in their place.
 */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readdir, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import { type Message, messageFromBytes } from "../../../mail/index.ts";
import { SmtpError } from "../../errors.ts";
import type { SmtpLimits } from "../limits.ts";

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;
const prefix = "incoming-";
/** The prefix of this process; an earlier process with the same pid has another one. */
const ownPrefix = `${prefix}${process.pid}-${Math.trunc(performance.timeOrigin).toString(36)}-`;
let fileCount = 0;
const readBytes = 64 * 1024;
/** Bytes gathered before they are written to a file. */
const writeBytes = 256 * 1024;
const maxRecentPieces = 256;

export class Spool {
  readonly #directory: string;
  readonly #limits: SmtpLimits;
  /** Bytes of messages in memory. */
  memoryBytes = 0;
  /** Messages begun and not yet discarded. */
  messages = 0;

  private constructor(directory: string, limits: SmtpLimits) {
    this.#directory = directory;
    this.#limits = limits;
  }

  /** Creates the directory if it is missing, and removes the spool files of a crash. */
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

  /** Begins a message; `expectedBytes` is the size that the client announced, or 0. */
  begin(expectedBytes = 0): IncomingMessage {
    this.messages += 1;
    return new IncomingMessage(this, expectedBytes > this.#limits.maxMemoryMessageBytes);
  }

  /** Whether a message of `held` bytes in memory may grow by `more`; if so, counts them. */
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

/** One message while it is received and delivered. */
export class IncomingMessage {
  size = 0;
  readonly #spool: Spool;
  #pieces: Uint8Array[] = [];
  /** The last pieces; many are merged, so that bytes sent one by one do not cost an object each. */
  #recent: Uint8Array[] = [];
  #reservedBytes = 0;
  #unwrittenBytes = 0;
  #toFile: boolean;
  #file: { path: string; handle: FileHandle } | undefined;

  constructor(spool: Spool, toFile: boolean) {
    this.#spool = spool;
    this.#toFile = toFile;
  }

  /** Adds bytes. Where it returns a promise the caller awaits it before it adds more. */
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

  /** Ends the message. Where it returns a promise the message can be read when that resolves. */
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
    return messageFromBytes(this.#takeAll());
  }

  /** Releases the memory and removes the spool file, if there is one. Called once. */
  discard(): Promise<void> | undefined {
    this.#pieces = [];
    this.#recent = [];
    this.#releaseMemory();
    this.#spool.messages -= 1;
    return this.#file && removeFile(this.#file);
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

async function removeFile({ path, handle }: { path: string; handle: FileHandle }): Promise<void> {
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
