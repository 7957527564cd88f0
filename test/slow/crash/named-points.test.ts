/**
 * kill -9 at every named point of delivery through the journal: a real process that ends itself
 * between two system calls, or in the middle of one, on the machine's own file system.
 *
 * Each point is tried the first time it is reached and at later times, with POSTBAG_CRASH_TIMES=all
 * at more of them. A point that is never reached is a failure.
 */
import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { describe, test } from "node:test";
import { CrashLedger, type Life } from "./support/expectations.ts";
import { deeds } from "./support/named-points.ts";

interface Point {
  readonly point: string;
  /** Which times the point is reached are tried. */
  readonly times?: readonly number[];
  /** Lives before this one, which leave something to recover. */
  readonly after?: readonly Life[];
  readonly life?: Partial<Life>;
}

const isLong = process.env.POSTBAG_CRASH_TIMES === "all";

/** Ends with much in the log that is not even staged. */
const logFull: Life = { point: "after answer", occurrence: 9, publishWithinMs: 1_000_000 };
/** Ends in the middle of a large round: durable in staging, part of it renamed. */
const halfPublished: Life = {
  ...{ point: "after publish", occurrence: 25, publishWithinMs: 1_000_000, batches: 12 },
};
/** Ends with a large body in staging of which no frame speaks. */
const strayBody: Life = { point: "after flush a large body's name", occurrence: 3 };
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
  { point: "before flush a staged file", life: oneByOne },
  { point: "after flush a staged file", life: oneByOne },
  { point: "before flush staged names", life: oneByOne },
  { point: "after flush staged names", life: oneByOne },
  { point: "before flush staged files together", times: [1] },
  { point: "after flush staged files together", times: [1] },
  { point: "before write DURABLE" },
  { point: "during write DURABLE" },
  { point: "after write DURABLE" },
  { point: "before publish" },
  { point: "after publish", times: [1, 2, 5, 12, 23, 40] },
  { point: "before flush mailboxes together", times: [1] },
  { point: "after flush mailboxes together", times: [1] },
  { point: "before flush a mailbox", life: oneByOne },
  { point: "after flush a mailbox", life: oneByOne },
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

const trouble: readonly Point[] = [
  { point: "before append again", life: blocked },
  { point: "during append again", life: blocked },
  { point: "after append again", life: blocked },
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

const parts = { commit, publishing, trouble, recovery };

for (const [part, points] of Object.entries(parts)) {
  describe(`kill -9 during ${part}`, { concurrency: availableParallelism() }, () => {
    for (const point of points) {
      const from = point.after ? ", of what was left " : "";
      const left = (point.after ?? []).map((life) => life.point).join(" and ");
      test(`${point.point}${from}${left}: nothing is lost, damaged or doubled`, async (t) => {
        for (const occurrence of times(point)) {
          const ledger = new CrashLedger(t);
          for (const earlier of point.after ?? []) await ledger.liveUntil(earlier);
          await ledger.liveUntil({ ...point.life, point: point.point, occurrence });
          await ledger.settle(`${point.point}, time ${occurrence}`);
        }
      });
    }
  });
}

test("every deed of a journalled delivery is the scene of a kill", () => {
  const scenes = Object.values(parts).flatMap((points) => points.map(({ point }) => point));
  const spared = deeds.filter((deed) => !scenes.some((scene) => scene.endsWith(` ${deed}`)));
  assert.deepEqual(spared, []);
});
