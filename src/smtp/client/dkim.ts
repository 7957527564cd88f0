/**
 * Signs messages with DKIM in threads of their own, because one RSA signature takes longer than all the
 * rest of sending a small message, and the event loop has other mail to carry.
 *
 * The signature has no time in it: the same message signed again is the same octets, so every attempt
 * sends the same copy.
 *
 * @see RFC 6376
 */
import { Worker } from "node:worker_threads";
import type { Message } from "../../mail/index.ts";
import { SmtpError } from "../errors.ts";

export interface DkimKey {
  /** The signing domain (`d=`). */
  readonly domain: string;
  /** The selector (`s=`): the public key is at `<selector>._domainkey.<domain>`. */
  readonly selector: string;
  /** RSA private key in PEM. */
  readonly privateKey: string;
}

export interface Signer {
  /** Puts the signature above the message; reads the whole message into memory. */
  sign(message: Message): Promise<Message>;
  close(): Promise<void>;
}

interface Asked {
  readonly resolve: (field: string) => void;
  readonly reject: (error: Error) => void;
}

/** What the thread answers. */
export interface Signed {
  readonly id: number;
  readonly field?: string;
  readonly error?: string;
}

// In the published package this file is JavaScript, and so is the thread's.
const threadEntry = new URL(
  import.meta.url.endsWith(".ts") ? "./dkim-thread.ts" : "./dkim-thread.js",
  import.meta.url,
);

/** Starts the signing thread. It holds up no process that is done otherwise. */
export function startSigner(key: DkimKey): Signer {
  const thread = new Worker(threadEntry, { name: "postbag-dkim", workerData: key, execArgv: [] });
  thread.unref();
  const asked = new Map<number, Asked>();
  let lastId = 0;
  const failAll = (error: Error) => {
    for (const { reject } of asked.values()) reject(error);
    asked.clear();
  };
  thread.on("message", ({ id, field, error }: Signed) => {
    const waiting = asked.get(id);
    asked.delete(id);
    if (asked.size === 0) thread.unref();
    if (field !== undefined) waiting?.resolve(field);
    else waiting?.reject(new SmtpError("ERR_SMTP_DKIM", `Cannot sign with DKIM: ${error}`));
  });
  thread.on("error", (cause) =>
    failAll(new SmtpError("ERR_SMTP_DKIM", "The signing thread died", { cause })),
  );
  return {
    async sign(message) {
      const bytes = await message.bytes();
      const { promise, resolve, reject } = Promise.withResolvers<string>();
      lastId += 1;
      asked.set(lastId, { resolve, reject });
      thread.ref();
      thread.postMessage({ id: lastId, bytes });
      return withField(await promise, bytes);
    },
    async close() {
      failAll(new SmtpError("ERR_SMTP_DKIM", "The signer is closed"));
      await thread.terminate();
    },
  };
}

function withField(field: string, bytes: Uint8Array): Message {
  const signed = Buffer.concat([Buffer.from(`${field}\r\n`, "latin1"), bytes]);
  return {
    size: signed.length,
    bytes: async () => signed,
    async *stream() {
      yield signed;
    },
  };
}
