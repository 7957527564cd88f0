/**
 * Everything that can refuse a message does so here, before the log has it: after that it is owed.
 *
 * The mailbox is there and durable, its file system is the right one and takes mail, there is room for
 * the message's file and its inode behind everything already owed, and the backlog is bounded.
 */
import {
  type KnownMailboxes,
  keepMailboxes,
  type Letter,
  type Mailbox,
  MaildirError,
} from "../../maildir/index.ts";
import type { FileSystem } from "../../system/index.ts";
import { errnoOf } from "../errors.ts";
import { LargeBodies } from "../publishing/large-bodies.ts";
import { fileSpace } from "../publishing/publication.ts";
import type { VolumePublisher, VolumePublishers } from "../publishing/volume-publishers.ts";
import { type StoredRecord, storedPath } from "../volumes/records.ts";
import type { Volumes } from "../volumes/volumes.ts";
import type { Backlog } from "./backlog.ts";
import type { RecentMailbox, RecentMailboxes } from "./mailbox-cache.ts";

export interface AdmissionTools {
  readonly fileSystem: FileSystem;
  readonly known: KnownMailboxes;
  readonly root: string | undefined;
  readonly volumes: Volumes;
  readonly publishers: VolumePublishers;
  readonly backlog: Backlog;
  readonly recent: RecentMailboxes;
  /** Largest message that travels in a frame. */
  readonly maxInlineBytes: number;
}

/** A message as it goes into the log. */
export interface Admitted {
  readonly letter: Letter;
  readonly volumePublisher: VolumePublisher;
  readonly record: StoredRecord;
}

export interface Admission {
  readonly logged: readonly Admitted[];
  /** For mailboxes that cannot be served from staging. */
  readonly synced: readonly Letter[];
}

/** Left free on a mail file system, for what else is written there. */
const sparedBytes = 4 * 1024 * 1024;
const sparedFiles = 64;

/** Parts a batch by the way it goes. What is refused has its `failure`, and is in neither part. */
export async function admit(letters: readonly Letter[], tools: AdmissionTools): Promise<Admission> {
  const mailboxes = await look(living(letters), tools);
  const homeOf = ({ maildir }: Letter) => mailboxes.get(maildir);
  const { logged: toLog = [], synced = [] } = Object.groupBy(living(letters), (letter) =>
    homeOf(letter) ? "logged" : "synced",
  );
  for (const [volumePublisher, own] of Map.groupBy(
    toLog,
    (letter) => homeOf(letter)!.volumePublisher,
  )) {
    refuseWhatHasNoRoom(own, volumePublisher, tools.fileSystem);
  }
  const bytes = living(toLog).reduce((sum, letter) => sum + spaceOf(letter), 0);
  if (!(await tools.backlog.hasRoomFor(bytes))) {
    for (const letter of toLog) refuse(letter, "ENOSPC", "too much is waiting to be published");
  }
  const bodies = new LargeBodies(tools.fileSystem, tools.maxInlineBytes);
  const logged: Admitted[] = [];
  for (const letter of living(toLog)) {
    const mailbox = homeOf(letter)!;
    const { volumePublisher } = mailbox;
    try {
      const body = await bodies.store(letter.body, letter.id, volumePublisher.staging);
      logged.push({ letter, volumePublisher, record: { ...recordOf(letter, mailbox), ...body } });
    } catch (cause) {
      refuseFor(cause, letter, `a large body for ${letter.maildir} cannot be stored`);
    }
  }
  return { logged, synced };
}

function recordOf(letter: Letter, { stored, volumePublisher }: RecentMailbox) {
  return {
    mailbox: stored,
    volume: volumePublisher.volume.id,
    id: letter.id,
    folder: letter.subdirectory,
    fileName: letter.fileName,
    receivedMs: letter.receivedAt?.getTime(),
    tries: 0,
  };
}

/** By path; without an entry, or refused, what cannot be served from staging. */
async function look(
  letters: readonly Letter[],
  tools: AdmissionTools,
): Promise<ReadonlyMap<string, RecentMailbox>> {
  const { volumes, publishers, recent, root } = tools;
  const found = new Map<string, RecentMailbox>();
  const unknown = Map.groupBy(letters, ({ maildir }) => maildir);
  for (const path of unknown.keys()) {
    const known = recent.find(path);
    if (known === undefined) continue;
    found.set(path, known);
    unknown.delete(path);
  }
  for (const [path, own] of unknown) {
    const home = volumes.missingFor(path);
    if (home === undefined) continue;
    for (const letter of own)
      refuse(letter, "ENODEV", `the mail file system at ${home} is missing`);
    unknown.delete(path);
  }
  for (const [path, mailbox] of await keepMailboxes(unknown.keys(), tools)) {
    try {
      const volume = await volumes.forMailbox(usable(mailbox));
      if (volume === undefined) continue;
      const seen = { volumePublisher: publishers.of(volume), stored: storedPath(path, root) };
      found.set(path, recent.note(path, seen));
    } catch (cause) {
      for (const letter of unknown.get(path) ?? []) {
        refuseFor(cause, letter, `${path} cannot be used`);
      }
    }
  }
  return found;
}

function usable(mailbox: Mailbox | MaildirError): Mailbox {
  if (mailbox instanceof MaildirError) throw mailbox;
  return mailbox;
}

function refuseWhatHasNoRoom(
  letters: readonly Letter[],
  { volume, publisher }: VolumePublisher,
  fileSystem: FileSystem,
): void {
  if (publisher.failure !== undefined) {
    const why = `mail cannot be published at ${volume.home}`;
    for (const letter of letters) refuseFor(publisher.failure, letter, why);
    return;
  }
  const free = fileSystem.space(volume.staging);
  let bytes = free.bytes - sparedBytes - publisher.pending.bytes;
  let files = (free.files ?? Number.POSITIVE_INFINITY) - sparedFiles - publisher.pending.messages;
  for (const letter of letters) {
    bytes -= spaceOf(letter);
    files -= 1;
    if (bytes < 0) refuse(letter, "ENOSPC", `no room is left at ${volume.home}`);
    else if (files < 0) refuse(letter, "ENOSPC", `no inodes are left at ${volume.home}`);
  }
}

function spaceOf({ body }: Letter): number {
  return fileSpace(body instanceof Uint8Array ? body.length : body.size);
}

function living(letters: readonly Letter[]): Letter[] {
  return letters.filter(({ failure }) => failure === undefined);
}

/** Refuses a message as a system call would have. */
export function refuse(letter: Letter, code: string, text: string): void {
  refuseFor(Object.assign(new Error(`${code}: ${text}`), { code }), letter, text);
}

/** Refuses a message because of an error. */
export function refuseFor(cause: unknown, letter: Letter, text: string): void {
  if (cause instanceof MaildirError) {
    letter.failure ??= cause;
    return;
  }
  const code = errnoOf(cause) ?? "EIO";
  letter.failure ??= new MaildirError("ERR_MAILDIR_WRITE_FAILED", text, {
    path: letter.maildir,
    cause:
      (cause as { code?: unknown }).code === code
        ? cause
        : Object.assign(new Error(text, { cause }), { code }),
  });
}
