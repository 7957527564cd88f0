/**
 * The mail of the crash tests: message number n is the same for its sender and for the test that
 * looks for it afterwards, so that only numbers need to be recorded.
 */
export interface CrashMail {
  readonly number: number;
  /** Below the mail root. */
  readonly mailbox: string;
  readonly bytes: Buffer;
  /** Whether it is passed as a file, too large for the log. */
  readonly isLarge: boolean;
  readonly flags: string | undefined;
}

export const mailboxes = ["ann", "bob", "cid", "dan", "eve", "fay", "guy", "hal", "ida", "joe"].map(
  (name) => `a.example/${name}`,
);
/** A mailbox whose directory refuses new names for a while. */
export const blocked = "b.example/blocked";
/** A mailbox that is deleted while mail for it waits to be published. */
export const gone = "b.example/gone";

const largeBytes = 40_000;

export function mailNumber(number: number): CrashMail {
  const isLarge = number % 9 === 4;
  const line = `${number} ${"x".repeat(number % 67)}\n`;
  const minBytes = isLarge ? largeBytes : 1 + ((number * 389) % 3000);
  const text = `Subject: ${number}\n\n${line.repeat(Math.ceil(minBytes / line.length))}end of ${number}\n`;
  return {
    number,
    mailbox: mailboxOf(number),
    bytes: Buffer.from(text),
    isLarge,
    flags: number % 11 === 3 ? "S" : undefined,
  };
}

function mailboxOf(number: number): string {
  if (number % 13 === 5) return blocked;
  if (number % 13 === 8) return gone;
  return mailboxes[number % mailboxes.length]!;
}

/** The number of a message; `undefined` if the message is not whole. */
export function numberOf(bytes: Buffer): number | undefined {
  const number = Number(/^Subject: (\d+)\n/.exec(bytes.toString("latin1", 0, 40))?.[1]);
  return Number.isInteger(number) && mailNumber(number).bytes.equals(bytes) ? number : undefined;
}
