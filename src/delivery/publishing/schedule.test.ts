/** When rounds start and how far the marks may rise, as pure functions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { StoredRecord } from "../volumes/records.ts";
import { type Publication, publication } from "./publication.ts";
import { dueInMs, mayWaitMs, pauseMs, publishableUpTo } from "./schedule.ts";

const record: StoredRecord = {
  mailbox: "bob",
  volume: "v",
  id: "1",
  folder: "new",
  fileName: "1",
  receivedMs: undefined,
  tries: 0,
  head: Buffer.from("body"),
  large: undefined,
};

function queued(lsn: bigint, notBeforeMs = 0): Publication {
  const state = notBeforeMs > 0 ? "staged" : "logged";
  return Object.assign(publication(lsn, record, "/mail/bob", state), { notBeforeMs });
}

test("PUBLISHED rises to just below the first queued message, and at most to DURABLE", () => {
  const lsn = fc.bigInt({ min: 1n, max: 20n });
  fc.assert(
    fc.property(fc.array(lsn), lsn, lsn, (lsns, reach, durable) => {
      const sorted = lsns.toSorted((a, b) => Number(a - b));
      const queue = sorted.map((lsn) => queued(lsn));
      const upTo = publishableUpTo({ queue, reach, marks: { durable, published: 0n } });
      assert.ok(upTo <= durable && upTo <= reach);
      assert.ok(sorted.every((lsn) => lsn > upTo));
      assert.ok(upTo === durable || upTo === reach || sorted[0] === upTo + 1n);
    }),
  );
});

test("a round is due at once for a new message, and when a mark can be raised", () => {
  const marks = { durable: 5n, published: 4n };
  assert.equal(dueInMs({ queue: [queued(7n)], reach: 7n, marks }, 100), 0, "a new message");
  assert.equal(dueInMs({ queue: [], reach: 5n, marks }, 100), 0, "PUBLISHED can be raised");
  const settled = { durable: 5n, published: 5n };
  assert.equal(dueInMs({ queue: [], reach: 6n, marks: settled }, 100), 0, "DURABLE can be raised");
  assert.equal(
    dueInMs({ queue: [], reach: 5n, marks: settled }, 100),
    undefined,
    "nothing is left",
  );
});

test("when all queued messages are held, a round is due at the earliest retry", () => {
  const marks = { durable: 9n, published: 5n };
  const queue = [queued(6n, 700), queued(7n, 450)];
  assert.equal(dueInMs({ queue, reach: 9n, marks }, 400), 50);
  assert.equal(dueInMs({ queue, reach: 9n, marks }, 500), -50);
  assert.equal(dueInMs({ queue: [...queue, queued(8n)], reach: 9n, marks }, 400), 0);
});

test("rounds start publishWithinMs / 2 apart; failures double the pause up to 30 s", () => {
  const rounds = { lastStartMs: 1000, failures: 0, publishWithinMs: 250 };
  assert.equal(pauseMs(rounds, 1000), 125);
  assert.equal(pauseMs(rounds, 1200), -75);
  assert.equal(pauseMs({ ...rounds, lastStartMs: Number.NEGATIVE_INFINITY }, 0), -Infinity);
  const pauses = [1, 2, 8, 9, 50].map((failures) => pauseMs({ ...rounds, failures }, 1000));
  assert.deepEqual(pauses, [200, 400, 25_600, 30_000, 30_000]);
});

test("a mark waits to share a frame's write only if a frame came during the round", () => {
  assert.equal(mayWaitMs(5n, 5n), 0);
  assert.equal(mayWaitMs(6n, 5n), 20);
});
