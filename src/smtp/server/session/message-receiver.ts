/**
 * Receives one message for transaction.ts: stores it in spool.ts, and decides whether its size and
 * content are accepted.
 *
 * Invariant: past `maxMessageBytes`, or after a write error, nothing more is stored. The decision
 * comes at the end of the message, so that no byte of the message is read as a command.
 */
import { MessageIntake, type Reply, reply } from "../../../mail/index.ts";
import type { IncomingMessage } from "./spool.ts";

export interface MessageReceiverOptions {
  /** Bytes to store in front of the message: its `Received` field. */
  readonly head: Uint8Array;
  readonly maxMessageBytes: number;
  readonly lineEndings: "lf" | "crlf";
  readonly bareNewlines: "reject" | "normalise";
}

type ReceiveResult =
  /**
   * The whole message is stored; `deliveredTo` are the addresses of its Delivered-To fields.
   */
  | { readonly kind: "complete"; readonly deliveredTo: readonly string[] }
  /** The message is refused because of its content. */
  | { readonly kind: "refused"; readonly reply: Reply }
  /** The message could not be stored. */
  | { readonly kind: "error"; readonly error: unknown };

/** A message with more `Received` fields is in a loop (RFC 5321 §6.3). */
const maxReceivedFields = 50;

const tooLarge = reply(552, "5.3.4", "Message is larger than this host accepts", "message");
const loop = reply(554, "5.4.6", "Too many hops, the message is in a loop", "message");
/** The reply to a message with a bare CR or LF (RFC 5321 §2.3.8). */
export const bareNewline = reply(
  550,
  "5.6.0",
  "Message has a CR or LF on its own, lines end in CRLF",
  "message",
);

export class MessageReceiver {
  readonly #intake: MessageIntake;
  readonly #incoming: Pick<IncomingMessage, "write" | "end">;
  readonly #options: MessageReceiverOptions;
  #writing: Promise<void> | undefined;
  #failure: { readonly error: unknown } | undefined;

  constructor(incoming: Pick<IncomingMessage, "write" | "end">, options: MessageReceiverOptions) {
    this.#intake = new MessageIntake(options);
    this.#incoming = incoming;
    this.#options = options;
    this.#store(options.head);
  }

  /** Bytes of the message received so far. */
  get received(): number {
    return this.#intake.received;
  }

  /**
   * Takes the next bytes. The caller awaits a returned promise before the next call. Never rejects.
   */
  write(bytes: Uint8Array): Promise<void> | undefined {
    this.#store(this.#intake.push(bytes));
    return this.#writing;
  }

  /** Ends the message and returns the decision. */
  async end(): Promise<ReceiveResult> {
    await this.#writing;
    this.#store(this.#intake.end());
    await this.#writing;
    if (!this.#failure) this.#track(this.#incoming.end());
    await this.#writing;
    return this.#result();
  }

  /** Resolves when no write is in progress. */
  async idle(): Promise<void> {
    await this.#writing;
  }

  #store(bytes: Uint8Array): void {
    const isTooLarge = this.#intake.received > this.#options.maxMessageBytes;
    if (this.#failure || bytes.length === 0 || isTooLarge) return;
    this.#track(this.#incoming.write(bytes));
  }

  #track(writing: Promise<void> | undefined): void {
    this.#writing = writing?.then(
      () => {
        this.#writing = undefined;
      },
      (error: unknown) => {
        this.#writing = undefined;
        this.#failure = { error };
      },
    );
  }

  #result(): ReceiveResult {
    const { received, hasBareNewline, receivedFields, deliveredTo } = this.#intake;
    const { maxMessageBytes, bareNewlines } = this.#options;
    if (received > maxMessageBytes) return { kind: "refused", reply: tooLarge };
    if (hasBareNewline && bareNewlines === "reject") return { kind: "refused", reply: bareNewline };
    if (receivedFields > maxReceivedFields) return { kind: "refused", reply: loop };
    if (this.#failure) return { kind: "error", error: this.#failure.error };
    return { kind: "complete", deliveredTo };
  }
}
