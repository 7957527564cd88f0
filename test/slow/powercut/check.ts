/**
 * What a power cut left of the mail, held against what had been acknowledged and what a reader did.
 *
 * Every acknowledged message is there exactly once, whole, in its mailbox and under its name,
 * unless a reader removed it; every visible file is whole; nothing is there that was not sent; and
 * what a reader did durably stays so.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Acknowledgement, Expectation } from "./events.ts";
import { serialOf } from "./messages.ts";

/**
 * The mail root on the disk under test, and the mailboxes in it: where the server has those of
 * localhost.
 */
export const mailRoot = "mail";
export const mailDirectory = `${mailRoot}/localhost`;

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
  /** Sent once and there as two files, or under two names no reader gave it. */
  readonly duplicated: readonly string[];
  /** One file in both `new/` and `cur/`: a reader's own move that survived as both names. */
  readonly halfMoved: readonly string[];
  /** Deleted durably by a reader, or moved away, and there again. */
  readonly revived: readonly string[];
  /** Deleted durably by a reader before the delivery was settled, and there again: btrfs may. */
  readonly revivedEarly: readonly string[];
}

interface VisibleFile {
  readonly mailbox: string;
  /** Below the mail root. */
  readonly path: string;
  /** Without flags. */
  readonly name: string;
  readonly inode: number;
  /** Which message this is; undefined when it is not the whole of one. */
  readonly serial: number | undefined;
}

/** Checks the mailboxes in a directory. */
export function checkMail(root: string, seed: number, expectation: Expectation): Findings {
  const files = existsSync(root)
    ? readdirSync(root).flatMap((box) => filesIn(root, box, seed))
    : [];
  const byName = Map.groupBy(files, mailOf);
  const bySerial = Map.groupBy(files, ({ serial }) => serial);
  const torn = bySerial.get(undefined) ?? [];
  bySerial.delete(undefined);

  const { acknowledged, removing, removed, removedEarly, moved } = expectation;
  const expected = acknowledged.filter(({ serial }) => !removing.has(serial));
  const isThere = ({ serial, mailbox, id }: Acknowledgement) =>
    (bySerial.get(serial) ?? []).some(
      (file) => file.mailbox === mailbox && (id === undefined || file.name === id),
    );
  const missing = expected.filter((mail) => !isThere(mail)).map(nameOf);
  const known = new Set(acknowledged.map(nameOf));
  const copies = [...bySerial.values()].filter(({ length }) => length > 1);
  const isHalfMoved = (same: readonly VisibleFile[]) =>
    same.every(({ inode }) => inode === same[0]!.inode) && new Set(same.map(mailOf)).size === 1;
  const thereAgain = (serials: ReadonlySet<number>) =>
    [...serials].flatMap((serial) => (bySerial.get(serial) ?? []).map(({ path }) => path));
  const movedBack = [...moved].flatMap(([serial, to]) =>
    (bySerial.get(serial) ?? []).map(({ path }) => path).filter((path) => path !== to),
  );
  return {
    expected: expected.length,
    lost: missing.filter((name) => !byName.has(name)),
    damaged: missing.filter((name) => byName.has(name)),
    partial: torn.filter((file) => !known.has(mailOf(file))).map(mailOf),
    duplicated: copies
      .filter((same) => !isHalfMoved(same))
      .map((same) =>
        same
          .map(({ path }) => path)
          .toSorted()
          .join(" = "),
      ),
    halfMoved: copies.filter(isHalfMoved).map((same) => mailOf(same[0]!)),
    revived: [...thereAgain(removed), ...movedBack],
    revivedEarly: thereAgain(removedEarly),
  };
}

function filesIn(root: string, mailbox: string, seed: number): VisibleFile[] {
  return ["new", "cur"].flatMap((sub) => {
    const directory = join(root, mailbox, sub);
    if (!existsSync(directory)) return [];
    return readdirSync(directory).map((entry) => {
      const path = join(directory, entry);
      const bytes = readable(path);
      const statedSize = /,S=(\d+)/.exec(entry)?.[1];
      const serial =
        bytes && Number(statedSize) === bytes.length ? serialOf(seed, bytes) : undefined;
      return {
        mailbox,
        path: `${mailbox}/${sub}/${entry}`,
        name: entry.split(":")[0]!,
        inode: statSync(path).ino,
        serial,
      };
    });
  });
}

/** What is left behind a recovery that should have left nothing. */
export interface Leftovers {
  /** Files in staging that nobody needs any more. */
  readonly staged: readonly string[];
  /** Messages that recovery did not take into their mailboxes. */
  readonly orphans: readonly string[];
}

/** Looks into the staging directories in a mail root. */
export function leftIn(root: string): Leftovers {
  const boxes = existsSync(root) ? readdirSync(root) : [];
  const staging = boxes.filter((name) => name.startsWith(".postbag-"));
  const names = (directory: string) =>
    existsSync(join(root, directory))
      ? readdirSync(join(root, directory)).map((name) => `${directory}/${name}`)
      : [];
  const explained = /\/(identity|lock|orphans)$/;
  return {
    staged: staging.flatMap(names).filter((path) => !explained.test(path)),
    orphans: staging.flatMap((directory) =>
      ["new", "cur"].flatMap((sub) => names(`${directory}/orphans/${sub}`)),
    ),
  };
}

/** A message, wherever in its mailbox and with whatever flags. */
function mailOf({ mailbox, name }: VisibleFile): string {
  return `${mailbox}/${name}`;
}

function nameOf({ mailbox, id, serial }: Acknowledgement): string {
  return `${mailbox}/${id ?? `message ${serial}`}`;
}

/** btrfs does not give out what does not fit its checksum: such a file is damaged. */
function readable(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EIO") return undefined;
    throw error;
  }
}
