/**
 * Signs messages with DKIM in a thread, because one RSA signature takes longer than the rest of
 * sending a small message and would block the event loop.
 *
 * The signature contains no time, so that a message has the same signature, and the same bytes, at
 * every attempt.
 *
 * @see RFC 6376
 */
import { type Message, messageFromBytes } from "../../mail/index.ts";
import { ThreadClient, type ThreadProtocol, threadEntry } from "../../system/index.ts";
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
  /**
   * Returns the message with its signature in front, all in memory. Rejects with `ERR_SMTP_DKIM`.
   */
  sign(message: Message): Promise<Message>;
  /** Ends the thread; signatures in progress are rejected. */
  close(): Promise<void>;
}

/** A request is a message, its answer the DKIM-Signature field without the line ending. */
export interface DkimProtocol extends ThreadProtocol {
  readonly options: DkimKey;
  readonly request: Uint8Array;
  readonly answer: string;
}

/** Starts the signing thread, which does not keep the process alive. */
export function startSigner(key: DkimKey): Signer {
  const thread = new ThreadClient<DkimProtocol>({
    name: "postbag-dkim",
    entry: threadEntry("./dkim-thread.ts", import.meta.url),
    options: key,
    errorFor: (reason, cause) =>
      reason === "failed"
        ? new SmtpError("ERR_SMTP_DKIM", `Cannot sign with DKIM: ${(cause as Error).message}`)
        : new SmtpError("ERR_SMTP_DKIM", "The signing thread has ended", { cause }),
  });
  return {
    async sign(message) {
      const bytes = await message.bytes();
      return withField(await thread.ask(bytes), bytes);
    },
    close: () => thread.terminate(),
  };
}

function withField(field: string, bytes: Uint8Array): Message {
  const signed = Buffer.concat([Buffer.from(`${field}\r\n`, "latin1"), bytes]);
  return messageFromBytes(signed);
}
