/**
 * What a power cut left of the mail, held against what had been acknowledged.
 *
 * Every acknowledged message is there exactly once, whole, in its mailbox and under its name; every
 * visible file is whole; nothing is there that was not sent.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Acknowledgement } from "./load.ts";
import { serialOf } from "./messages.ts";

/** Each list names the messages or files at fault. */
export interface Findings {
  readonly acknowledged: number;
  readonly visible: number;
  /** Acknowledged and not there. */
  readonly lost: readonly string[];
  /** Acknowledged and there, but not the octets that were sent. */
  readonly damaged: readonly string[];
  /** Visible, never acknowledged, and not whole. */
  readonly partial: readonly string[];
  /** Sent once and there more than once. */
  readonly duplicated: readonly string[];
}

interface Visible {
  /** The mailbox below the mail root, a slash, and the name without flags. */
  readonly key: string;
  readonly serial: number | undefined;
}

export function checkMail(
  root: string,
  seed: number,
  acknowledgements: readonly Acknowledgement[],
): Findings {
  const visible = existsSync(root)
    ? readdirSync(root).flatMap((box) => mailIn(root, box, seed))
    : [];
  const byKey = new Map(visible.map((mail) => [mail.key, mail]));
  const known = new Map(acknowledgements.map((ack) => [`${ack.mailbox}/${baseName(ack.id)}`, ack]));
  const copies = Map.groupBy(
    visible.filter(({ serial }) => serial !== undefined),
    ({ serial }) => serial,
  );
  const keys = [...known.keys()];
  return {
    acknowledged: acknowledgements.length,
    visible: visible.length,
    lost: keys.filter((key) => !byKey.has(key)),
    damaged: keys.filter(
      (key) => byKey.has(key) && byKey.get(key)?.serial !== known.get(key)?.serial,
    ),
    partial: visible
      .filter(({ key, serial }) => serial === undefined && !known.has(key))
      .map(({ key }) => key),
    duplicated: [...copies.values()]
      .filter((same) => same.length > 1)
      .map((same) => same.map(({ key }) => key).join(" = ")),
  };
}

function mailIn(root: string, mailbox: string, seed: number): Visible[] {
  return ["new", "cur"].flatMap((sub) => {
    const directory = join(root, mailbox, sub);
    if (!existsSync(directory)) return [];
    return readdirSync(directory).map((name) => {
      const bytes = readFileSync(join(directory, name));
      const statedSize = /,S=(\d+)/.exec(name)?.[1];
      const serial = Number(statedSize) === bytes.length ? serialOf(seed, bytes) : undefined;
      return { key: `${mailbox}/${baseName(name)}`, serial };
    });
  });
}

/** A Maildir name without its flags. */
function baseName(name: string): string {
  return name.split(":")[0]!;
}
