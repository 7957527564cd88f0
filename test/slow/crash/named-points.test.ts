/**
 * kill -9 at every named point of delivery through the journal: a real process that kills itself
 * between two system calls, or in the middle of one, on the machine's own file system.
 *
 * Each point is tried the first time it is reached and at later times. A point that is never
 * reached is a failure. Environment: POSTBAG_CRASH_TIMES=all tries more of the times.
 */
import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { describe, test } from "node:test";
import { CrashExpectations, type CrashRun } from "./support/expectations.ts";
import { actions } from "./support/named-points.ts";

interface Point {
  readonly point: string;
  /** Which arrivals at the point are tried. */
  readonly times?: readonly number[];
  /** Runs before this one, which leave mail to recover. */
  readonly after?: readonly CrashRun[];
  readonly run?: Partial<CrashRun>;
}

const isLong = process.env.POSTBAG_CRASH_TIMES === "all";

/** Ends with much mail in the log that is not staged. */
const logFull: CrashRun = { point: "after answer", occurrence: 9, publishWithinMs: 1_000_000 };
/** Ends in the middle of a large round: durable in staging, part of it renamed. */
const halfPublished: CrashRun = {
  point: "after publish",
  occurrence: 25,
  publishWithinMs: 1_000_000,
  batches: 12,
};
/** Ends with a large body in staging that no frame refers to. */
const strayBody: CrashRun = { point: "after flush a large body's name", occurrence: 3 };
const blocked = { isBlocked: true } as const;
const oneByOne = { hasBulkSync: false } as const;

const commit: readonly Point[] = [
  { point: "after lock the journal", times: [1] },
  { point: "before make a segment", times: [1] },
  { point: "before name a segment", times: [1, 2, 3] },
  { point: "after name a segment", times: [1, 2, 3] },
  { point: "during write the state", times: [1] },
  { point: "after write the state", times: [1] },
  { point: "after make the staging directory", times: [1] },
  { point: "after lock staging", times: [1] },
  { point: "before write the identity", times: [1] },
  { point: "after write the identity", times: [1] },
  { point: "after make a mailbox", times: [1, 3, 6, 9] },
  { point: "after try a mailbox", times: [1, 2, 3] },
  { point: "before write a large body" },
  { point: "during flush a large body" },
  { point: "after flush a large body" },
  { point: "after flush a large body's name" },
  { point: "before append" },
  { point: "during append" },
  { point: "after append" },
  { point: "after answer" },
];

const publishing: readonly Point[] = [
  { point: "before make a staged file" },
  { point: "before write a staged file" },
  { point: "after write a staged file" },
  { point: "before flush a staged file", run: oneByOne },
  { point: "after flush a staged file", run: oneByOne },
  { point: "before flush staged names", run: oneByOne },
  { point: "after flush staged names", run: oneByOne },
  { point: "before flush staged files together", times: [1] },
  { point: "after flush staged files together", times: [1] },
  { point: "before write DURABLE" },
  { point: "during write DURABLE" },
  { point: "after write DURABLE" },
  { point: "before publish" },
  { point: "after publish", times: [1, 2, 5, 12, 23, 40] },
  { point: "before flush mailboxes together", times: [1] },
  { point: "after flush mailboxes together", times: [1] },
  { point: "before flush a mailbox", run: oneByOne },
  { point: "after flush a mailbox", run: oneByOne },
  { point: "after flush staging" },
  { point: "before write PUBLISHED" },
  { point: "during write PUBLISHED" },
  { point: "after write PUBLISHED" },
  { point: "before remove a large body" },
  { point: "after remove a large body" },
  { point: "before reuse a segment" },
  { point: "during reuse a segment" },
  { point: "after reuse a segment" },
];

const failures: readonly Point[] = [
  { point: "before append again", run: blocked },
  { point: "during append again", run: blocked },
  { point: "after append again", run: blocked },
  { point: "before move to orphans", times: [1, 2, 4] },
  { point: "after move to orphans", times: [1, 2, 4] },
  { point: "after flush orphans", times: [1, 2, 4] },
];

const recovery: readonly Point[] = [
  { point: "after lock the journal", times: [1], after: [logFull] },
  { point: "before write the state", times: [1], after: [logFull] },
  { point: "after write the state", times: [1, 2], after: [logFull] },
  { point: "during copy a frame", times: [1], after: [logFull] },
  { point: "after copy a frame", times: [1], after: [logFull] },
  { point: "after lock staging", times: [1], after: [logFull] },
  { point: "before write the identity", times: [1], after: [logFull] },
  { point: "after write a staged file", times: [1, 4, 9], after: [logFull] },
  { point: "before write DURABLE", times: [1], after: [logFull] },
  { point: "after write DURABLE", times: [1], after: [logFull] },
  { point: "after publish", times: [1, 5, 14], after: [logFull] },
  { point: "after publish", times: [1, 5, 14], after: [halfPublished] },
  { point: "after flush a mailbox", times: [1, 2], after: [halfPublished] },
  { point: "before write PUBLISHED", times: [1], after: [halfPublished] },
  { point: "before look for strays", times: [1], after: [strayBody] },
  { point: "after sweep a stray", times: [1], after: [strayBody] },
  { point: "before delete a segment", times: [1, 2], after: [logFull] },
  { point: "after delete a segment", times: [1, 2], after: [logFull] },
  {
    point: "after publish",
    times: [3],
    after: [logFull, { point: "after publish", occurrence: 2 }],
  },
];

function times(point: Point): readonly number[] {
  if (point.times) return isLong ? point.times : point.times.slice(-1);
  return isLong ? [1, 2, 3, 5, 8] : [3];
}

const parts = { commit, publishing, failures, recovery };

for (const [part, points] of Object.entries(parts)) {
  describe(`kill -9 during ${part}`, { concurrency: availableParallelism() }, () => {
    for (const point of points) {
      const before = point.after?.map((run) => run.point).join(" and ");
      const left = before ? `, recovering from ${before}` : "";
      test(`${point.point}${left}: no mail is lost, damaged or doubled`, async (t) => {
        for (const occurrence of times(point)) {
          const expectations = new CrashExpectations(t);
          for (const earlier of point.after ?? []) await expectations.runUntilKilled(earlier);
          await expectations.runUntilKilled({ ...point.run, point: point.point, occurrence });
          await expectations.recoverAndCheck(`${point.point}, time ${occurrence}`);
        }
      });
    }
  });
}

test("every action of delivery through the journal is a point of a kill", () => {
  const points = Object.values(parts).flatMap((part) => part.map(({ point }) => point));
  const missing = actions.filter((action) => !points.some((point) => point.endsWith(` ${action}`)));
  assert.deepEqual(missing, []);
});
