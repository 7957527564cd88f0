/** Reads columns and cursors that both stores have; their `read.ts`, `claim.ts`… call it. */
import { invariant } from "../../system/index.ts";
import { refusal } from "./checks.ts";
import { OutboxError } from "./errors.ts";
import { type KeptReply, type Lane, laneNumbers, type RouteRow } from "./rows.ts";
import type { AttemptRow } from "./views.ts";

/** A row as the driver of the database returns it. */
export type Row = Readonly<Record<string, unknown>>;

/** The lanes, each at the index that is its number in the database. */
export const laneNames = Object.keys(laneNumbers) as readonly Lane[];

/** The lane of a number in the database. */
export function laneOf(number: unknown): Lane {
  const lane = laneNames[Number(number)];
  invariant(lane !== undefined, "each lane number in the database is one of laneNumbers");
  return lane;
}

/** A reply, stored as JSON; `undefined` for null. */
export function replyOf(json: unknown): KeptReply | undefined {
  return json == null ? undefined : (JSON.parse(String(json)) as KeptReply);
}

/** A text; `undefined` for null. */
export function textOf(value: unknown): string | undefined {
  return value == null ? undefined : String(value);
}

/** A number, which a driver may return as text; `undefined` for null. */
export function numberOf(value: unknown): number | undefined {
  return value == null ? undefined : Number(value);
}

export function attemptRow(row: Row): AttemptRow {
  return {
    attemptNo: Number(row.attempt_no),
    cycle: Number(row.cycle),
    cycleAttempt: Number(row.cycle_attempt),
    worker: String(row.worker),
    startedAtMs: Number(row.started_at),
    finishedAtMs: numberOf(row.finished_at),
    outcome: (row.outcome ?? undefined) as AttemptRow["outcome"],
    reply: replyOf(row.reply),
    via: textOf(row.via),
  };
}

export function routeRow(row: Row): RouteRow {
  return {
    route: String(row.route),
    failures: Number(row.failures),
    blockedUntilMs: numberOf(row.blocked_until),
    reason: textOf(row.reason),
  };
}

/** Makes the cursor behind a page from the key of its last delivery. */
export function cursorAfter(key: number): string {
  return `d${key.toString(36)}`;
}

/** @throws {OutboxError} ERR_OUTBOX_OPTION for a cursor that no page returned. */
export function readCursor(cursor: string): number {
  const key = /^d[0-9a-z]{1,11}$/.test(cursor) ? Number.parseInt(cursor.slice(1), 36) : Number.NaN;
  if (Number.isSafeInteger(key)) return key;
  throw refusal("cursor", "one that a page returned", cursor);
}

/**
 * Checks that the `version` in the database is one of those from `oldest` to `newest`, which this
 * program understands.
 *
 * @throws {OutboxError} ERR_OUTBOX_SCHEMA_VERSION with both versions and what to do.
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
