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

/** Where the mailboxes lie on the disk under test: where the server puts those of localhost. */
export const mailDirectory = "mail/localhost";

/** Each list names the messages or files at fault. */
export interface Findings {
  /** Acknowledged messages that had to be there. */
  readonly expected: number;
  /** Acknowledged and not there, or not under the name that was answered. */
  readonly lost: readonly string[];
  /** Acknowledged and there, but not the octets that were sent. */
  readonly damaged: readonly string[];
  /** Visible, not acknowledged under this name, and not whole or not ours. */
  readonly partial: readonly string[];
  /** Sent once and there under two names. */
  readonly duplicated: readonly string[];
  /** There in both `new/` and `cur/`: a reader's own move that survived as both names. */
  readonly halfMoved: readonly string[];
}

interface VisibleFile {
  readonly mailbox: string;
  /** Without flags. */
  readonly name: string;
  /** Which message this is; undefined when it is not the whole of one. */
  readonly serial: number | undefined;
}

/**
 * Checks the mailboxes in a directory.
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
  const byName = Map.groupBy(files, pathOf);
  const bySerial = Map.groupBy(files, ({ serial }) => serial);
  const torn = bySerial.get(undefined) ?? [];
  bySerial.delete(undefined);

  const expected = acknowledged.filter(({ serial }) => !removed.has(serial));
  const isThere = ({ serial, mailbox, id }: Acknowledgement) =>
    (bySerial.get(serial) ?? []).some(
      (file) => file.mailbox === mailbox && (id === undefined || file.name === id),
    );
  const missing = expected.filter((mail) => !isThere(mail)).map(nameOf);
  const known = new Set(acknowledged.map(nameOf));
  return {
    expected: expected.length,
    lost: missing.filter((name) => !byName.has(name)),
    damaged: missing.filter((name) => byName.has(name)),
    partial: torn.map(pathOf).filter((path) => !known.has(path)),
    duplicated: [...bySerial.values()]
      .map((copies) => [...new Set(copies.map(pathOf))].toSorted())
      .filter((paths) => paths.length > 1)
      .map((paths) => paths.join(" = ")),
    halfMoved: [...byName].filter(([, same]) => same.length > 1).map(([path]) => path),
  };
}

function filesIn(root: string, mailbox: string, seed: number): VisibleFile[] {
  return ["new", "cur"].flatMap((sub) => {
    const directory = join(root, mailbox, sub);
    if (!existsSync(directory)) return [];
    return readdirSync(directory).map((entry) => {
      const bytes = readFileSync(join(directory, entry));
      const statedSize = /,S=(\d+)/.exec(entry)?.[1];
      const serial = Number(statedSize) === bytes.length ? serialOf(seed, bytes) : undefined;
      return { mailbox, name: entry.split(":")[0]!, serial };
    });
  });
}

function pathOf({ mailbox, name }: VisibleFile): string {
  return `${mailbox}/${name}`;
}

function nameOf({ mailbox, id, serial }: Acknowledgement): string {
  return `${mailbox}/${id ?? `message ${serial}`}`;
}
