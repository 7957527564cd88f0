/**
 * What a power cut left of the mail, held against what had been acknowledged.
 *
 * Every acknowledged message is there exactly once, whole, in its mailbox and under its name, unless a
 * reader removed it; every visible file is whole; nothing is there that was not sent.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Acknowledgement } from "./load.ts";
import { serialOf } from "./messages.ts";

/** Each list names the messages or files at fault. */
export interface Findings {
  /** Acknowledged messages that had to be there. */
  readonly expected: number;
  /** Files in all `new/` and `cur/`. */
  readonly visible: number;
  /** Acknowledged and not there. */
  readonly lost: readonly string[];
  /** Acknowledged and there, but not the octets that were sent. */
  readonly damaged: readonly string[];
  /** Visible, not acknowledged, and not whole or not ours. */
  readonly partial: readonly string[];
  /** Sent once and there under two names. */
  readonly duplicated: readonly string[];
  /** There in both `new/` and `cur/`: a reader's own move that survived as both names. */
  readonly halfMoved: readonly string[];
}

interface VisibleFile {
  /** The mailbox below the mail root, a slash, and the name without flags. */
  readonly key: string;
  /** Which message these octets are; undefined when they are not the whole of one. */
  readonly serial: number | undefined;
}

/**
 * Checks the mail below a mail root.
 *
 * @param acknowledged What was acknowledged before the cut.
 * @param removed Serials a reader may have removed before it.
 */
export function checkMail(
  root: string,
  seed: number,
  acknowledged: readonly Acknowledgement[],
  removed: ReadonlySet<number>,
): Findings {
  const files = existsSync(root)
    ? readdirSync(root).flatMap((box) => filesIn(root, box, seed))
    : [];
  const byKey = Map.groupBy(files, ({ key }) => key);
  const known = new Map(acknowledged.map((mail) => [`${mail.mailbox}/${mail.id}`, mail.serial]));
  const expected = [...known].filter(([, serial]) => !removed.has(serial)).map(([key]) => key);
  const whole = files.filter(({ serial }) => serial !== undefined);
  return {
    expected: expected.length,
    visible: files.length,
    lost: expected.filter((key) => !byKey.has(key)),
    damaged: files
      .filter(({ key, serial }) => known.has(key) && known.get(key) !== serial)
      .map(({ key }) => key),
    partial: files
      .filter(({ key, serial }) => !known.has(key) && serial === undefined)
      .map(({ key }) => key),
    duplicated: [...Map.groupBy(whole, ({ serial }) => serial).values()]
      .map((copies) => [...new Set(copies.map(({ key }) => key))])
      .filter((names) => names.length > 1)
      .map((names) => names.join(" = ")),
    halfMoved: [...byKey].filter(([, same]) => same.length > 1).map(([key]) => key),
  };
}

function filesIn(root: string, mailbox: string, seed: number): VisibleFile[] {
  return ["new", "cur"].flatMap((sub) => {
    const directory = join(root, mailbox, sub);
    if (!existsSync(directory)) return [];
    return readdirSync(directory).map((name) => {
      const bytes = readFileSync(join(directory, name));
      const statedSize = /,S=(\d+)/.exec(name)?.[1];
      const serial = Number(statedSize) === bytes.length ? serialOf(seed, bytes) : undefined;
      return { key: `${mailbox}/${name.split(":")[0]}`, serial };
    });
  });
}
