/**
 * Takes one message into memory or the spool, and judges what came.
 *
 * Invariant: past a limit, or behind a fault, nothing more of it is kept; the verdict comes at its end, so
 * that none of it is ever taken for a command.
 */
import { MessageIntake, type Reply, reply } from "../../../mail/index.ts";
import type { IncomingMessage } from "./spool.ts";

export interface ReceiveOptions {
  /** Put on top of the message. */
  readonly head: Uint8Array;
  readonly maxMessageBytes: number;
  readonly lineEndings: "lf" | "crlf";
  readonly bareNewlines: "reject" | "normalise";
}

export type Receipt =
  /** All of it is in `incoming`. */
  | { readonly kind: "whole"; readonly deliveredTo: readonly string[] }
  /** It is refused for what it is. */
  | { readonly kind: "refused"; readonly reply: Reply }
  /** It could not be kept. */
  | { readonly kind: "error"; readonly error: unknown };

/** More `Received` fields than this and the message goes in circles (RFC 5321 §6.3). */
const maxReceivedFields = 50;

const tooLarge = reply(552, "5.3.4", "Message is larger than this host accepts", "message");
const loop = reply(554, "5.4.6", "Too many hops, the message is in a loop", "message");
/** The reply to a message with a CR or LF on its own (RFC 5321 §2.3.8). */
export const bareNewline = reply(
  550,
  "5.6.0",
  "Message has a CR or LF on its own, lines end in CRLF",
  "message",
);

export class Receiver {
  readonly #intake: MessageIntake;
  readonly #incoming: Pick<IncomingMessage, "write" | "end">;
  readonly #options: ReceiveOptions;
  #writing: Promise<void> | undefined;
  #fault: { readonly error: unknown } | undefined;

  constructor(incoming: Pick<IncomingMessage, "write" | "end">, options: ReceiveOptions) {
    this.#intake = new MessageIntake(options);
    this.#incoming = incoming;
    this.#options = options;
    this.#keep(options.head);
  }

  /** Octets of the message that have come. */
  get received(): number {
    return this.#intake.received;
  }

  /** Takes the next octets; whoever is given a promise waits for it before the next. Never rejects. */
  write(octets: Uint8Array): Promise<void> | undefined {
    this.#keep(this.#intake.push(octets));
    return this.#writing;
  }

  /** Ends the message, and says what it is. */
  async end(): Promise<Receipt> {
    await this.#writing;
    this.#keep(this.#intake.end());
    await this.#writing;
    if (!this.#fault) this.#noting(this.#incoming.end());
    await this.#writing;
    return this.#judge();
  }

  /** Resolves when nothing is being written any more. */
  async idle(): Promise<void> {
    await this.#writing;
  }

  #keep(octets: Uint8Array): void {
    const isTooMuch = this.#intake.received > this.#options.maxMessageBytes;
    if (this.#fault || octets.length === 0 || isTooMuch) return;
    this.#noting(this.#incoming.write(octets));
  }

  #noting(writing: Promise<void> | undefined): void {
    this.#writing = writing?.then(
      () => {
        this.#writing = undefined;
      },
      (error: unknown) => {
        this.#writing = undefined;
        this.#fault = { error };
      },
    );
  }

  #judge(): Receipt {
    const { received, hasBareNewline, receivedFields, deliveredTo } = this.#intake;
    const { maxMessageBytes, bareNewlines } = this.#options;
    if (received > maxMessageBytes) return { kind: "refused", reply: tooLarge };
    if (hasBareNewline && bareNewlines === "reject") return { kind: "refused", reply: bareNewline };
    if (receivedFields > maxReceivedFields) return { kind: "refused", reply: loop };
    if (this.#fault) return { kind: "error", error: this.#fault.error };
    return { kind: "whole", deliveredTo };
  }
}
