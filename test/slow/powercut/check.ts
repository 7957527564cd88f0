/**
 * Checks the mail that a power cut left against the acknowledgements and the actions of a reader,
 * as events.ts sums them up; called by power-cut.ts.
 *
 * Every acknowledged message is present exactly once, whole, in its mailbox and under its name,
 * unless a reader removed it; every visible file is whole; no file is present that was not sent;
 * and no durable action of a reader is undone.
 */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Acknowledgement, Expectation } from "./events.ts";
import { serialOf } from "./messages.ts";

/**
 * The mail root on the disk under test, and in it the directory of the server's localhost
 * mailboxes.
 */
export const mailRoot = "mail";
export const mailDirectory = `${mailRoot}/localhost`;

/** Each list names the messages or files at fault. */
export interface Findings {
  /** Acknowledged messages that had to be present. */
  readonly expected: number;
  /** Acknowledged, and missing from its mailbox or under another name than acknowledged. */
  readonly lost: readonly string[];
  /** Acknowledged and present, with other bytes than were sent. */
  readonly damaged: readonly string[];
  /** Visible, not acknowledged under this name, and not whole or not ours. */
  readonly partial: readonly string[];
  /** Sent once and present as two files, or under two names that no reader gave it. */
  readonly duplicated: readonly string[];
  /** One file in both `new/` and `cur/`: a reader's own move that survived as both names. */
  readonly halfMoved: readonly string[];
  /** Durably deleted or moved away by a reader, and present again. */
  readonly revived: readonly string[];
  /** Durably deleted before the delivery was settled, and present again: btrfs may do so. */
  readonly revivedEarly: readonly string[];
}

interface VisibleFile {
  readonly mailbox: string;
  /** The mailbox's path below the mail root. */
  readonly path: string;
  /** The file name without flags. */
  readonly name: string;
  readonly inode: number;
  /** The number of the message; undefined when the file is not one whole message. */
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
  const isPresent = ({ serial, mailbox, id }: Acknowledgement) =>
    (bySerial.get(serial) ?? []).some(
      (file) => file.mailbox === mailbox && (id === undefined || file.name === id),
    );
  const missing = expected.filter((mail) => !isPresent(mail)).map(nameOf);
  const known = new Set(acknowledged.map(nameOf));
  const copies = [...bySerial.values()].filter(({ length }) => length > 1);
  const isHalfMoved = (same: readonly VisibleFile[]) =>
    same.every(({ inode }) => inode === same[0]!.inode) && new Set(same.map(mailOf)).size === 1;
  const backAgain = (serials: ReadonlySet<number>) =>
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
    revived: [...backAgain(removed), ...movedBack],
    revivedEarly: backAgain(removedEarly),
  };
}

function filesIn(root: string, mailbox: string, seed: number): VisibleFile[] {
  return ["new", "cur"].flatMap((sub) => {
    const directory = join(root, mailbox, sub);
    if (!existsSync(directory)) return [];
    return readdirSync(directory).map((fileName) => {
      const path = join(directory, fileName);
      const bytes = readable(path);
      const statedSize = /,S=(\d+)/.exec(fileName)?.[1];
      const serial =
        bytes && Number(statedSize) === bytes.length ? serialOf(seed, bytes) : undefined;
      return {
        mailbox,
        path: `${mailbox}/${sub}/${fileName}`,
        name: fileName.split(":")[0]!,
        inode: statSync(path).ino,
        serial,
      };
    });
  });
}

/** Files in staging directories that a complete recovery does not leave. */
export interface Leftovers {
  /** Files in staging that are not needed any more. */
  readonly staged: readonly string[];
  /** Messages that recovery did not move into their mailboxes. */
  readonly orphans: readonly string[];
}

/** Lists leftovers in the staging directories of a mail root. */
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

/** Names a message without its folder and flags. */
function mailOf({ mailbox, name }: VisibleFile): string {
  return `${mailbox}/${name}`;
}

function nameOf({ mailbox, id, serial }: Acknowledgement): string {
  return `${mailbox}/${id ?? `message ${serial}`}`;
}

/** Reads a file; `undefined` where btrfs refuses it because of a wrong checksum: it is damaged. */
function readable(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EIO") return undefined;
    throw error;
  }
}
