/**
 * One message between `354` and its end: takes its bytes from the input and passes them to a
 * transaction.
 */
import type { Transaction } from "../session/transaction.ts";
import { DotReader } from "./dot-reader.ts";
import type { LineBuffer } from "./line-buffer.ts";

interface TransferStep {
  /** The end of the message was found; the rest of the input is back in the buffer. */
  readonly isComplete: boolean;
  /** A write that must finish before more is taken. */
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
