/**
 * The protocol between start-disk-thread.ts (the event loop) and disk-thread.ts (the disk thread):
 * one request and one answer per batch.
 *
 * All bodies of a batch are copied once into one buffer, and that buffer is moved, not copied, to
 * the thread: the caller's own bytes stay untouched, and of a large buffer pool only the slices
 * with bodies are copied. Errors cross as plain facts, because structured cloning drops an error's
 * own fields.
 */
import {
  type Body,
  type Delivery,
  MaildirError,
  type MaildirErrorCode,
  type SpooledBody,
} from "../../maildir/index.ts";
import { type ErrorFacts, errorOf, factsOf, type ThreadProtocol } from "../../system/index.ts";
import type {
  CommitResult,
  CommitterEvent,
  JournalSettings,
  RecoveryReport,
} from "../committer.ts";

export interface ThreadOptions {
  readonly mailRoot?: string | undefined;
  /** Commits through this journal. @defaultValue none: each message is committed in its mailbox */
  readonly journal?: JournalSettings | undefined;
}

/** A request is one batch; its answer has one result for each delivery, in the same order. */
export interface DiskProtocol extends ThreadProtocol {
  readonly options: ThreadOptions;
  /** What recovery did; `undefined` without a journal. */
  readonly started: RecoveryReport | undefined;
  readonly request: PackedBatch;
  readonly answer: readonly PackedResult[];
  readonly event: CommitterEvent;
}

interface PackedBatch {
  /** The bodies, end to end. */
  readonly bytes: ArrayBuffer;
  readonly items: readonly PackedDelivery[];
}

interface PackedDelivery {
  readonly maildir: string;
  /** Where the body, or the head of a spooled body, lies in the batch's buffer. */
  readonly offset: number;
  readonly length: number;
  readonly spooled: Omit<SpooledBody, "head"> | undefined;
  readonly flags: string | undefined;
  readonly receivedMs: number | undefined;
}

type PackedResult =
  | { readonly ok: true; readonly id: string; readonly unpublished: boolean }
  | { readonly ok: false; readonly error: PackedError };

interface PackedError {
  readonly code: MaildirErrorCode;
  readonly message: string;
  readonly path: string | undefined;
  /** Whether a file of the message may remain in the mailbox. */
  readonly mayRemain: boolean;
  readonly cause: ErrorFacts | undefined;
}

/** Bytes of a body that are in memory: all of it, or the head of a spooled one. */
export function sizeInMemory(body: Body): number {
  return inMemory(body).length;
}

function inMemory(body: Body): Uint8Array {
  return body instanceof Uint8Array ? body : body.head;
}

/** The request for a batch; its buffer is to be moved to the thread. */
export function packBatch(deliveries: readonly Delivery[]): PackedBatch {
  let total = 0;
  for (const { body } of deliveries) total += sizeInMemory(body);
  const bytes = new Uint8Array(total);
  let offset = 0;
  const items = deliveries.map(({ maildir, body, flags, receivedAt }): PackedDelivery => {
    const part = inMemory(body);
    bytes.set(part, offset);
    const item = {
      maildir,
      offset,
      length: part.length,
      spooled: body instanceof Uint8Array ? undefined : spooledPart(body),
      flags,
      receivedMs: receivedAt?.getTime(),
    };
    offset += part.length;
    return item;
  });
  return { bytes: bytes.buffer, items };
}

function spooledPart({ head: _, ...rest }: SpooledBody): Omit<SpooledBody, "head"> {
  return rest;
}

/** The deliveries of a request; their bodies are views of its buffer. */
export function unpackBatch({ bytes, items }: PackedBatch): Delivery[] {
  return items.map(({ maildir, offset, length, spooled, flags, receivedMs }) => {
    const part = new Uint8Array(bytes, offset, length);
    const body: Body = spooled === undefined ? part : { head: part, ...spooled };
    return {
      maildir,
      body,
      flags,
      receivedAt: receivedMs === undefined ? undefined : new Date(receivedMs),
    };
  });
}

export function packResults(results: readonly CommitResult[]): PackedResult[] {
  return results.map((result) => {
    if (result.ok) return { ok: true, id: result.id, unpublished: result.unpublished === true };
    const { code, message, path, mayRemain, cause } = result.error;
    const facts = cause === undefined ? undefined : factsOf(cause);
    return { ok: false, error: { code, message, path, mayRemain, cause: facts } };
  });
}

export function unpackResults(results: readonly PackedResult[]): CommitResult[] {
  return results.map((result) => {
    if (result.ok) return result;
    const { code, message, path, mayRemain, cause } = result.error;
    const facts = { mayRemain, path, cause: cause && errorOf(cause) };
    const error = new MaildirError(code, message, facts);
    return { ok: false, error };
  });
}

/** The ids of a batch's messages that are durable and not yet visible. */
export function unpublishedOf(results: readonly PackedResult[]): string[] {
  return results.flatMap((result) => (result.ok && result.unpublished ? [result.id] : []));
}
