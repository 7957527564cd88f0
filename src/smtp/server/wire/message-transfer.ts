/**
 * One message between `354` and its end: takes its bytes from a connection's input, removes the
 * dots (dot-reader.ts), and passes them to session/transaction.ts.
 */
import type { Transaction } from "../session/transaction.ts";
import { DotReader } from "./dot-reader.ts";
import type { LineBuffer } from "./line-buffer.ts";

interface TransferStep {
  /** The end of the message was found; the input after it is back in the buffer. */
  readonly isComplete: boolean;
  /** The caller awaits this write, if there is one, before the next `take`. */
  readonly writing: Promise<void> | undefined;
}

export class MessageTransfer {
  readonly transaction: Transaction;
  readonly #dots = new DotReader();

  constructor(transaction: Transaction) {
    this.transaction = transaction;
  }

  /** Takes the input up to the end of the message. */
  take(input: LineBuffer): TransferStep {
    const { text, rest } = this.#dots.read(input.takeAll());
    if (rest) input.push(rest);
    const writing = text.length > 0 ? this.transaction.write(text) : undefined;
    return { isComplete: rest !== undefined, writing };
  }
}
