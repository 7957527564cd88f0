/**
 * Reads one message from a session into memory or the spool, and judges what came.
 *
 * Invariant: the message is read to its final dot, whatever is wrong with it, so that none of it is ever
 * taken for a command; and past a limit nothing more of it is kept.
 */
import type { Readable } from "node:stream";
import { MessageIntake, type Reply, reply } from "../mail/index.ts";
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
  /** It came to its end, and is refused for what it is. */
  | { readonly kind: "refused"; readonly reply: Reply }
  /** It came to its end, but could not be kept. */
  | { readonly kind: "error"; readonly error: unknown }
  /** The client went away before the end. */
  | { readonly kind: "aborted"; readonly received: number };

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

/** Reads a message to its end; never rejects. */
export function receive(
  stream: Readable,
  incoming: Pick<IncomingMessage, "write" | "end">,
  { head, maxMessageBytes, lineEndings, bareNewlines }: ReceiveOptions,
): Promise<Receipt> {
  const intake = new MessageIntake({ lineEndings, bareNewlines });
  let writing = Promise.resolve();
  let fault: { error: unknown } | undefined;

  function keep(bytes: Uint8Array): void {
    if (fault || bytes.length === 0 || intake.received > maxMessageBytes) return;
    const written = incoming.write(bytes);
    if (!written) return;
    stream.pause();
    writing = noting(written).then(() => {
      stream.resume();
    });
  }

  async function noting(written: Promise<void>): Promise<void> {
    try {
      await written;
    } catch (error) {
      fault = { error };
    }
  }

  async function finish(): Promise<Receipt> {
    keep(intake.end());
    await writing;
    if (!fault) await noting(incoming.end());
    return judge();
  }

  function judge(): Receipt {
    const refusal =
      intake.received > maxMessageBytes
        ? tooLarge
        : intake.hasBareNewline && bareNewlines === "reject"
          ? bareNewline
          : intake.receivedFields > maxReceivedFields
            ? loop
            : undefined;
    if (refusal) return { kind: "refused", reply: refusal };
    if (fault) return { kind: "error", error: fault.error };
    return { kind: "whole", deliveredTo: intake.deliveredTo };
  }

  return new Promise((resolve) => {
    let hasEnded = false;
    const abort = () => {
      if (hasEnded) return;
      void writing.then(() => resolve({ kind: "aborted", received: intake.received }));
    };
    keep(head);
    stream.on("data", (chunk: Uint8Array) => keep(intake.push(chunk)));
    stream.on("end", () => {
      hasEnded = true;
      resolve(finish());
    });
    stream.on("error", abort);
    stream.on("close", abort);
  });
}
