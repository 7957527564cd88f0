/**
 * The events that load.ts and reader.ts print, and what must be on the disk because of these events
 * after a cut at some instant (for check.ts).
 *
 * Every event has a time of the machine's monotonic clock that claims no more than was true then:
 * an acknowledgement or a finished action is stamped *after* it, the start of an action *before*
 * it.
 */
import type { FileSystemName } from "../../support/recorded-disk/index.ts";

export interface Acknowledgement {
  readonly kind: "acknowledged";
  readonly serial: number;
  /** The mailbox below the mail root. */
  readonly mailbox: string;
  /** The file name in `new/`, if the method returns it. */
  readonly id?: string | undefined;
  readonly atNs: number;
}

/** A message is visible, and no other name of it is left in `tmp/` or in staging. */
export interface Settlement {
  readonly kind: "settled";
  readonly serial: number;
  readonly atNs: number;
}

/** A process is ready to deliver, and has recovered the mail of earlier processes. */
export interface Opening {
  readonly kind: "opened";
  /** The number of the first message it will send; all messages of lower numbers are settled. */
  readonly first: number;
  readonly atNs: number;
}

/** A reader starts to delete a message, or has deleted it and flushed the directory. */
export interface Removal {
  readonly kind: "removing" | "removed";
  readonly serial: number;
  readonly atNs: number;
}

/** A reader has moved a message and flushed both directories. */
export interface Move {
  readonly kind: "moved";
  readonly serial: number;
  /** Where the message is now, below the mail root. */
  readonly to: string;
  readonly atNs: number;
}

export type LoadEvent = Acknowledgement | Settlement | Opening | Removal | Move;

export function print(...events: readonly LoadEvent[]): void {
  process.stdout.write(events.map((event) => `${JSON.stringify(event)}\n`).join(""));
}

/** Parses the output of a process, without a last line that `kill -9` cut short. */
export function parseEvents(output: string): LoadEvent[] {
  const lines = output.split("\n").slice(0, -1);
  return lines.map((line): LoadEvent => JSON.parse(line));
}

export interface Expectation {
  readonly acknowledged: readonly Acknowledgement[];
  /** A reader may have deleted these messages. */
  readonly removing: ReadonlySet<number>;
  /** A reader deleted these messages durably: they must stay away. */
  readonly removed: ReadonlySet<number>;
  /** A reader deleted these messages durably, but on btrfs before the delivery was settled. */
  readonly removedEarly: ReadonlySet<number>;
  /** By number, the place to which a reader moved a message durably. */
  readonly moved: ReadonlyMap<number, string>;
}

/** What must be on the disk after a cut at an instant of the monotonic clock. */
export function expectationAt(
  fileSystem: FileSystemName,
  events: readonly LoadEvent[],
  atNs: number,
): Expectation {
  const before = events.filter((event) => event.atNs <= atNs);
  const of = <Kind extends LoadEvent["kind"]>(kind: Kind) =>
    before.filter((event): event is Extract<LoadEvent, { kind: Kind }> => event.kind === kind);
  const serials = (list: readonly { readonly serial: number }[]) =>
    new Set(list.map(({ serial }) => serial));

  const settled = serials(of("settled"));
  const opened = Math.max(-1, ...of("opened").map(({ first }) => first));
  const isEarly = ({ serial }: { readonly serial: number }) =>
    fileSystem === "btrfs" && serial >= opened && !settled.has(serial);
  const removals = [...of("removing"), ...of("removed")];
  const removed = removals.filter(({ kind }) => kind === "removed");
  return {
    acknowledged: of("acknowledged"),
    removing: serials(removals),
    removed: serials(removed.filter((removal) => !isEarly(removal))),
    removedEarly: serials(removed.filter(isEarly)),
    moved: new Map(of("moved").map(({ serial, to }) => [serial, to])),
  };
}
