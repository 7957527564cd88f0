/**
 * Recovery: what the log still owes is carried out, before the first new message is taken.
 *
 * The log is read twice, frame by frame: once for the highest lsn of every name, once to act on it. Each
 * message's step is decided in zones.ts and carried out by the same publisher that serves new mail, so
 * recovery may be killed at any instant and begun again. A mail file system that is not there, or does
 * not take its messages now, keeps them in the log and is tried again later; the others serve.
 */
import { join } from "node:path";
import type { Lsn, Marks, RecoveredFrame } from "../../journal/index.ts";
import type { FileSystem } from "../../system/index.ts";
import { errnoOf } from "../errors.ts";
import { assertIntact } from "../publishing/large-bodies.ts";
import { type Publication, publication, spaceOf } from "../publishing/publication.ts";
import type { Publisher } from "../publishing/publisher.ts";
import type { Staging } from "../publishing/staging.ts";
import {
  decodeBatch,
  pathOfStored,
  type StoredRecord,
  type StoredVolume,
} from "../volumes/records.ts";
import { type NextStep, nextStep, type Staged } from "./next-step.ts";

/** What the log says, without the bodies. */
export interface LogIndex {
  /** By message name, the highest lsn that speaks of it. */
  readonly highest: ReadonlyMap<string, Lsn>;
  /** By id, each mail file system, and the highest start counter of a frame about it. */
  readonly volumes: ReadonlyMap<string, { readonly stored: StoredVolume; readonly starts: bigint }>;
}

/** Steps taken, counted. */
export type Counts = Partial<Record<NextStep, number>>;

/** Reads the whole log once. @throws {DeliveryError} ERR_DELIVERY_JOURNAL for a frame not understood */
export async function indexOf(frames: readonly RecoveredFrame[]): Promise<LogIndex> {
  const highest = new Map<string, Lsn>();
  const volumes = new Map<string, { stored: StoredVolume; starts: bigint }>();
  for (const frame of frames) {
    const { starts, volumes: listed, records } = decodeBatch(await frame.read());
    for (const stored of listed) {
      const earlier = volumes.get(stored.id);
      if (!earlier || earlier.starts <= starts) volumes.set(stored.id, { stored, starts });
    }
    for (const { id } of records) {
      if (frame.lsn > (highest.get(id) ?? -1n)) highest.set(id, frame.lsn);
    }
  }
  return { highest, volumes };
}

export interface ReplayTools {
  readonly fileSystem: FileSystem;
  readonly root: string | undefined;
  readonly staging: Staging;
  readonly publisher: Publisher;
  readonly marks: Marks;
  /** Does something that the disk may refuse, again and again until it does not. */
  readonly persist: <Value>(action: () => Value | Promise<Value>) => Promise<Value>;
}

/** Octets of messages in memory at once. */
const chunkBytes = 16 * 1024 * 1024;

/** Does what one recognised mail file system is owed; on return its marks have passed the last frame. */
export async function replayVolume(
  volume: string,
  frames: readonly RecoveredFrame[],
  { highest }: LogIndex,
  tools: ReplayTools,
): Promise<Counts> {
  const { publisher, persist, marks } = tools;
  const counts: Counts = {};
  let chunk: Publication[] = [];
  let bytes = 0;
  for (const frame of frames) {
    if (!frame.volumes.includes(volume) || frame.lsn <= marks.published) continue;
    for (const record of decodeBatch(await frame.read()).records) {
      if (record.volume !== volume) continue;
      const highestLsn = highest.get(record.id) ?? frame.lsn;
      const { step, todo } = await persist(() => begun(frame.lsn, highestLsn, record, tools));
      counts[step] = (counts[step] ?? 0) + 1;
      if (todo === undefined) continue;
      chunk.push(todo);
      bytes += spaceOf(record);
    }
    if (bytes < chunkBytes) continue;
    await finished(chunk, frame.lsn);
    chunk = [];
    bytes = 0;
  }
  const last = frames.at(-1);
  if (last) await finished(chunk, last.lsn);
  return counts;

  async function finished(publications: readonly Publication[], lsn: Lsn): Promise<void> {
    publisher.take(publications, lsn);
    await persist(() => publisher.finish());
  }
}

/** Decides about one message, and says what is left for the publisher to do, if anything is. */
function begun(
  lsn: Lsn,
  highestLsn: Lsn,
  record: StoredRecord,
  tools: ReplayTools,
): { readonly step: NextStep; readonly todo: Publication | undefined } {
  const { fileSystem, root, staging, marks } = tools;
  const staged = () => stagedAs(record.id, staging.path, fileSystem);
  const step = nextStep({ lsn, highestLsn, marks, recognised: true, staged });
  const todo = (state: Publication["state"]) => ({
    step,
    todo: publication(lsn, record, pathOfStored(record.mailbox, root), state),
  });
  switch (step) {
    case "stage again":
      if (record.large) assertIntact(record.large, staging, fileSystem);
      return todo("logged");
    case "publish":
      return todo("staged");
    case "remove from staging":
      staging.remove(record.id);
      return todo("renamed");
    case "flush names":
      return todo("renamed");
    default:
      return { step, todo: undefined };
  }
}

/** Looks at one name in staging, and at nothing else. */
export function stagedAs(id: string, staging: string, fileSystem: FileSystem): Staged {
  try {
    return fileSystem.status(join(staging, id)).links > 1 ? "one of several names" : "only name";
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "absent";
    throw error;
  }
}
