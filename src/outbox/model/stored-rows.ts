/** What both stores read from their rows in the same way. */
import { OutboxError } from "./errors.ts";
import { type KeptReply, type Lane, laneNumbers, type RouteRow } from "./rows.ts";
import type { AttemptRow } from "./views.ts";

/** A row as the database's library gives it. */
export type Row = Readonly<Record<string, unknown>>;

/** The lanes by their numbers in the database. */
export const laneNames = Object.keys(laneNumbers) as readonly Lane[];

/** A reply as it is kept, which is as JSON. */
export function replyOf(json: unknown): KeptReply {
  return JSON.parse(String(json)) as KeptReply;
}

/** A column that may be null, as a property that may be absent. */
export function optional<Name extends string>(
  name: Name,
  value: unknown,
): { [name in Name]?: string } {
  return (value === null ? {} : { [name]: String(value) }) as { [name in Name]?: string };
}

export function attemptRow(row: Row): AttemptRow {
  return {
    attemptNo: Number(row.attempt_no),
    cycle: Number(row.cycle),
    cycleAttempt: Number(row.cycle_attempt),
    worker: String(row.worker),
    startedAtMs: Number(row.started_at),
    ...(row.finished_at === null ? {} : { finishedAtMs: Number(row.finished_at) }),
    ...(row.outcome === null ? {} : { outcome: row.outcome as AttemptRow["outcome"] & string }),
    ...(row.reply === null ? {} : { reply: replyOf(row.reply) }),
    ...optional("via", row.via),
  };
}

export function routeRow(row: Row): RouteRow {
  return {
    route: String(row.route),
    failures: Number(row.failures),
    ...(row.blocked_until == null ? {} : { blockedUntilMs: Number(row.blocked_until) }),
    ...(row.reason == null ? {} : { reason: String(row.reason) }),
  };
}

/** The cursor behind a page: the key of its last delivery. */
export function cursorAfter(key: number): string {
  return `d${key.toString(36)}`;
}

/** @throws {OutboxError} ERR_OUTBOX_OPTION for a cursor that no page gave. */
export function readCursor(cursor: string): number {
  const key = /^d[0-9a-z]{1,11}$/.test(cursor) ? Number.parseInt(cursor.slice(1), 36) : Number.NaN;
  if (Number.isSafeInteger(key)) return key;
  const text = `cursor is ${JSON.stringify(cursor)}, which no page gave`;
  throw new OutboxError("ERR_OUTBOX_OPTION", text);
}

/**
 * Checks that a program which understands these versions understands the one it found.
 *
 * @throws {OutboxError} ERR_OUTBOX_SCHEMA_VERSION, naming both and what to do.
 */
export function checkSchemaVersion(version: number, oldest: number, newest: number): void {
  if (version >= oldest && version <= newest) return;
  const remedy =
    version === 0
      ? "it holds no outbox yet; migrate it first"
      : version > newest
        ? "a newer program made it; update this one"
        : "migrate it first";
  throw new OutboxError(
    "ERR_OUTBOX_SCHEMA_VERSION",
    `The outbox schema has version ${version}, this program understands ${oldest} ` +
      `to ${newest}: ${remedy}.`,
  );
}
