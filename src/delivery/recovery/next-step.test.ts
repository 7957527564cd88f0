/** What recovery does with a message, for every position of its lsn to PUBLISHED and DURABLE. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { nextStep, type Staged } from "./next-step.ts";

const lsn = fc.bigInt({ min: 1n, max: 12n });
const situations = fc.record({
  lsn,
  ahead: fc.bigInt({ min: 0n, max: 1n }),
  published: fc.bigInt({ min: 0n, max: 12n }),
  further: fc.bigInt({ min: 0n, max: 12n }),
  isRecognised: fc.boolean(),
  staged: fc.constantFrom<Staged>("absent", "only name", "one of several names"),
});

function decide(given: {
  readonly lsn: bigint;
  readonly ahead: bigint;
  readonly published: bigint;
  readonly further: bigint;
  readonly isRecognised: boolean;
  readonly staged: Staged;
}) {
  let hasLooked = false;
  const marks = { published: given.published, durable: given.published + given.further };
  const step = nextStep({
    lsn: given.lsn,
    highestLsn: given.lsn + given.ahead,
    marks,
    isRecognised: given.isRecognised,
    staged: () => {
      hasLooked = true;
      return given.staged;
    },
  });
  return { step, hasLooked, marks };
}

test("a message is staged from the log if and only if its lsn is above DURABLE", () => {
  fc.assert(
    fc.property(situations, (given) => {
      const { step, marks } = decide(given);
      const counts = given.ahead === 0n && given.isRecognised && given.lsn > marks.published;
      assert.equal(step === "stage again", counts && given.lsn > marks.durable);
    }),
  );
});

test("staging is read only between PUBLISHED and DURABLE, on a recognised volume", () => {
  fc.assert(
    fc.property(situations, (given) => {
      const { hasLooked, marks } = decide(given);
      const isBetween = given.lsn > marks.published && given.lsn <= marks.durable;
      assert.equal(hasLooked, given.ahead === 0n && given.isRecognised && isBetween);
    }),
  );
});

test("published messages get no step; on an unrecognised volume mail stays in the log", () => {
  fc.assert(
    fc.property(situations, (given) => {
      const { step, marks } = decide(given);
      if (given.ahead > 0n) assert.equal(step, "leave to later frame");
      else if (given.lsn <= marks.published) assert.equal(step, "nothing");
      else if (!given.isRecognised) assert.equal(step, "keep in log");
    }),
  );
});

test("between PUBLISHED and DURABLE the message's file in staging decides", () => {
  const between = { lsn: 5n, ahead: 0n, published: 4n, further: 3n, isRecognised: true };
  assert.equal(decide({ ...between, staged: "absent" }).step, "flush names");
  assert.equal(decide({ ...between, staged: "only name" }).step, "publish");
  assert.equal(decide({ ...between, staged: "one of several names" }).step, "remove from staging");
});
