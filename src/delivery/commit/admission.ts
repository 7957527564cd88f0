/**
 * Admission of a batch, called by journal-committer.ts before it writes the batch to the log: a
 * message in the log must be published, so every refusal but that of the log itself happens here.
 *
 * In this order: the mailbox is resolved (it exists durably, on a volume that is the right one and
 * takes mail); the volume has room for the file and its inode behind all admitted mail; the whole
 * batch waits for room in the backlog (backlog.ts); large bodies are written to staging.
 */
import {
  ensureMailboxes,
  type KnownMailboxes,
  type Mailbox,
  MaildirError,
  notFailed,
  type PendingDelivery,
} from "../../maildir/index.ts";
import { errnoOf, type FileSystem } from "../../system/index.ts";
import { LargeBodies } from "../publishing/large-bodies.ts";
import { fileSpace } from "../publishing/publication.ts";
import type { VolumePublisher, VolumePublishers } from "../publishing/volume-publishers.ts";
import { type StoredRecord, storedPath } from "../volumes/records.ts";
import type { Volumes } from "../volumes/volumes.ts";
import type { Backlog } from "./backlog.ts";
import type { CachedMailbox, MailboxCache } from "./mailbox-cache.ts";

export interface AdmissionTools {
  readonly fileSystem: FileSystem;
  readonly known: KnownMailboxes;
  readonly root: string | undefined;
  readonly volumes: Volumes;
  readonly publishers: VolumePublishers;
  readonly backlog: Backlog;
  readonly cache: MailboxCache;
  /** Largest message, in bytes, whose body is in the frame (the log's unit of write). */
  readonly maxInlineBytes: number;
}

/** A message with its record: what a frame of the log has for one message and one mailbox. */
export interface Admitted {
  readonly message: PendingDelivery;
  readonly volumePublisher: VolumePublisher;
  readonly record: StoredRecord;
}

export interface Admission {
  /** To be written to the log. */
  readonly logged: readonly Admitted[];
  /** For mailboxes that no staging directory can serve: to be committed there, without the log. */
  readonly synced: readonly PendingDelivery[];
}

/** Bytes and inodes left free on each volume, for other programs. */
const sparedBytes = 4 * 1024 * 1024;
const sparedFiles = 64;

/** Parts a batch into `logged` and `synced`. A refused message has a `failure` and is left out. */
export async function admit(
  messages: readonly PendingDelivery[],
  tools: AdmissionTools,
): Promise<Admission> {
  const mailboxes = await resolveMailboxes(notFailed(messages), tools);
  const synced: PendingDelivery[] = [];
  const toLog: Placed[] = [];
  for (const message of notFailed(messages)) {
    const mailbox = mailboxes.get(message.maildir);
    if (mailbox === undefined) synced.push(message);
    else toLog.push({ message, mailbox });
  }
  for (const [volumePublisher, own] of Map.groupBy(toLog, volumePublisherOf)) {
    refuseWithoutRoom(own.map(messageOf), volumePublisher, tools.fileSystem);
  }
  const bytes = notFailed(toLog.map(messageOf)).reduce((sum, one) => sum + spaceOf(one), 0);
  if (!(await tools.backlog.hasRoomFor(bytes))) {
    for (const { message } of toLog) refuse(message, "ENOSPC", "the backlog is full");
  }
  return { logged: await withRecords(toLog, tools), synced };
}

/** A message and the mailbox it goes to, by way of the log. */
interface Placed {
  readonly message: PendingDelivery;
  readonly mailbox: CachedMailbox;
}

const messageOf = ({ message }: Placed) => message;
const volumePublisherOf = ({ mailbox }: Placed) => mailbox.volumePublisher;

/** Makes the records of the messages not refused; first makes large bodies durable in staging. */
async function withRecords(
  placed: readonly Placed[],
  { fileSystem, maxInlineBytes }: AdmissionTools,
): Promise<Admitted[]> {
  const bodies = new LargeBodies(fileSystem, maxInlineBytes);
  const admitted: Admitted[] = [];
  for (const { message, mailbox } of placed) {
    if (message.failure !== undefined) continue;
    const { volumePublisher } = mailbox;
    try {
      const body = await bodies.store(message.body, message.id, volumePublisher.staging);
      const record = { ...recordOf(message, mailbox), ...body };
      admitted.push({ message, volumePublisher, record });
    } catch (cause) {
      refuseFor(cause, message, `a large body for ${message.maildir} cannot be stored`);
    }
  }
  return admitted;
}

function recordOf(message: PendingDelivery, { stored, volumePublisher }: CachedMailbox) {
  return {
    mailbox: stored,
    volume: volumePublisher.volume.id,
    id: message.id,
    folder: message.subdirectory,
    fileName: message.fileName,
    receivedMs: message.receivedAt?.getTime(),
    tries: 0,
  };
}

/**
 * The mailboxes that a staging directory can serve, by path. A message whose path is not in the
 * result either has a `failure` now, or no staging directory can serve its mailbox.
 */
async function resolveMailboxes(
  messages: readonly PendingDelivery[],
  tools: AdmissionTools,
): Promise<ReadonlyMap<string, CachedMailbox>> {
  const { volumes, publishers, cache, root } = tools;
  const resolved = new Map<string, CachedMailbox>();
  const unknown = Map.groupBy(messages, ({ maildir }) => maildir);
  for (const path of unknown.keys()) {
    const cached = cache.find(path);
    if (cached === undefined) continue;
    resolved.set(path, cached);
    unknown.delete(path);
  }
  for (const [path, own] of unknown) {
    const missing = volumes.missingFor(path);
    if (missing === undefined) continue;
    for (const one of own) refuse(one, "ENODEV", `the volume at ${missing} is missing`);
    unknown.delete(path);
  }
  for (const [path, mailbox] of await ensureMailboxes(unknown.keys(), tools)) {
    try {
      const volume = await volumes.forMailbox(usable(mailbox));
      if (volume === undefined) continue;
      const found = { volumePublisher: publishers.of(volume), stored: storedPath(path, root) };
      resolved.set(path, cache.add(path, found));
    } catch (cause) {
      for (const one of unknown.get(path) ?? []) refuseFor(cause, one, `${path} cannot be used`);
    }
  }
  return resolved;
}

function usable(mailbox: Mailbox | MaildirError): Mailbox {
  if (mailbox instanceof MaildirError) throw mailbox;
  return mailbox;
}

/** Refuses the messages that find no room on a volume, or all if its last round failed. */
function refuseWithoutRoom(
  messages: readonly PendingDelivery[],
  { volume, publisher }: VolumePublisher,
  fileSystem: FileSystem,
): void {
  if (publisher.failure !== undefined) {
    const text = `mail cannot be published at ${volume.directory}`;
    for (const message of messages) refuseFor(publisher.failure, message, text);
    return;
  }
  const free = fileSystem.space(volume.staging);
  const { pending } = publisher;
  let bytes = free.bytes - sparedBytes - pending.bytes;
  let files = (free.files ?? Number.POSITIVE_INFINITY) - sparedFiles - pending.messages;
  for (const message of messages) {
    bytes -= spaceOf(message);
    files -= 1;
    if (bytes < 0) refuse(message, "ENOSPC", `no space is left at ${volume.directory}`);
    else if (files < 0) refuse(message, "ENOSPC", `no inodes are left at ${volume.directory}`);
  }
}

function spaceOf({ body }: PendingDelivery): number {
  return fileSpace(body instanceof Uint8Array ? body.length : body.size);
}

/** Refuses a message with an errno error like that of a system call. */
function refuse(message: PendingDelivery, code: string, text: string): void {
  refuseFor(Object.assign(new Error(`${code}: ${text}`), { code }), message, text);
}

/** Sets a message's `failure` from an error, unless it has one: the first refusal stands. */
export function refuseFor(cause: unknown, message: PendingDelivery, text: string): void {
  if (cause instanceof MaildirError) {
    message.failure ??= cause;
    return;
  }
  const code = errnoOf(cause) ?? "EIO";
  const hasCode = cause instanceof Error && "code" in cause && cause.code === code;
  message.failure ??= new MaildirError("ERR_MAILDIR_WRITE_FAILED", text, {
    path: message.maildir,
    cause: hasCode ? cause : Object.assign(new Error(text, { cause }), { code }),
  });
}
