/**
 * Replays the log for one volume, for recovery.ts: every message that is not published yet is
 * published, before the volume takes new mail.
 *
 * The log is read twice, frame by frame: once for the highest lsn (log sequence number) of every
 * message, once to act. Each message's step is decided in next-step.ts and carried out by the
 * publisher that serves new mail later, so recovery may be killed at any instant and repeated.
 */
import { join } from "node:path";
import type { Lsn, Marks, RecoveredFrame } from "../../journal/index.ts";
import { errnoOf, type FileSystem } from "../../system/index.ts";
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

/** What the whole log says about messages and volumes, without the bodies. */
export interface LogIndex {
  /** The highest lsn of each message, by its name. */
  readonly highest: ReadonlyMap<string, Lsn>;
  /** Each volume, by id, and the highest start counter of the frames that mention it. */
  readonly volumes: ReadonlyMap<string, { readonly stored: StoredVolume; readonly starts: bigint }>;
}

/** For how many messages each step was taken. */
export type Counts = ReadonlyMap<NextStep, number>;

/**
 * Reads the whole log once.
 * @throws {DeliveryError} ERR_DELIVERY_JOURNAL for an unreadable frame
 */
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

interface ReplayTools {
  readonly fileSystem: FileSystem;
  readonly root: string | undefined;
  readonly staging: Staging;
  readonly publisher: Publisher;
  readonly marks: Marks;
  /** Repeats an action that the disk may refuse, until it succeeds. */
  readonly untilDone: <Value>(action: () => Value | Promise<Value>) => Promise<Value>;
}

/** Bytes of messages in memory at once. */
const chunkBytes = 16 * 1024 * 1024;

/** Publishes a recognised volume's messages; on return its marks have reached the last frame. */
export async function replayVolume(
  volume: string,
  frames: readonly RecoveredFrame[],
  { highest }: LogIndex,
  tools: ReplayTools,
): Promise<Counts> {
  const { publisher, untilDone, marks } = tools;
  const counts = new Map<NextStep, number>();
  let chunk: Publication[] = [];
  let bytes = 0;
  for (const frame of frames) {
    if (!frame.volumes.includes(volume) || frame.lsn <= marks.published) continue;
    for (const record of decodeBatch(await frame.read()).records) {
      if (record.volume !== volume) continue;
      const highestLsn = highest.get(record.id) ?? frame.lsn;
      const { step, todo } = await untilDone(() => begin(frame.lsn, highestLsn, record, tools));
      counts.set(step, (counts.get(step) ?? 0) + 1);
      if (todo === undefined) continue;
      chunk.push(todo);
      bytes += spaceOf(record);
    }
    if (bytes < chunkBytes) continue;
    await publish(chunk, frame.lsn);
    chunk = [];
    bytes = 0;
  }
  const last = frames.at(-1);
  if (last) await publish(chunk, last.lsn);
  return counts;

  async function publish(publications: readonly Publication[], lsn: Lsn): Promise<void> {
    publisher.take(publications, lsn);
    await untilDone(() => publisher.finish());
  }
}

/** Begins a message's step; returns the publication that completes it, if the step needs one. */
function begin(
  lsn: Lsn,
  highestLsn: Lsn,
  record: StoredRecord,
  tools: ReplayTools,
): { readonly step: NextStep; readonly todo: Publication | undefined } {
  const { fileSystem, root, staging, marks } = tools;
  const staged = () => stagedAs(record.id, staging.path, fileSystem);
  const step = nextStep({ lsn, highestLsn, marks, isRecognised: true, staged });
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

/** Looks for the file of one message in staging, without listing the directory. */
export function stagedAs(id: string, staging: string, fileSystem: FileSystem): Staged {
  try {
    return fileSystem.status(join(staging, id)).links > 1 ? "one of several names" : "only name";
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return "absent";
    throw error;
  }
}
