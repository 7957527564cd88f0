import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { nextStep, type Staged } from "./next-step.ts";

const lsn = fc.bigInt({ min: 1n, max: 12n });
const facts = fc.record({
  lsn,
  ahead: fc.bigInt({ min: 0n, max: 1n }),
  published: fc.bigInt({ min: 0n, max: 12n }),
  further: fc.bigInt({ min: 0n, max: 12n }),
  recognised: fc.boolean(),
  staged: fc.constantFrom<Staged>("absent", "only name", "one of several names"),
});

function decide(given: {
  readonly lsn: bigint;
  readonly ahead: bigint;
  readonly published: bigint;
  readonly further: bigint;
  readonly recognised: boolean;
  readonly staged: Staged;
}) {
  let looked = false;
  const marks = { published: given.published, durable: given.published + given.further };
  const step = nextStep({
    lsn: given.lsn,
    highestLsn: given.lsn + given.ahead,
    marks,
    recognised: given.recognised,
    staged: () => {
      looked = true;
      return given.staged;
    },
  });
  return { step, looked, marks };
}

test("only above DURABLE is a message made from the log, and always there", () => {
  fc.assert(
    fc.property(facts, (given) => {
      const { step, marks } = decide(given);
      const counts = given.ahead === 0n && given.recognised && given.lsn > marks.published;
      assert.equal(step === "stage again", counts && given.lsn > marks.durable);
    }),
  );
});

test("staging is looked at only between the marks, and only where the file system is recognised", () => {
  fc.assert(
    fc.property(facts, (given) => {
      const { looked, marks } = decide(given);
      const between = given.lsn > marks.published && given.lsn <= marks.durable;
      assert.equal(looked, given.ahead === 0n && given.recognised && between);
    }),
  );
});

test("nothing is done about what is published, and nothing where the file system is unknown", () => {
  fc.assert(
    fc.property(facts, (given) => {
      const { step, marks } = decide(given);
      if (given.ahead > 0n) assert.equal(step, "leave to later frame");
      else if (given.lsn <= marks.published) assert.equal(step, "nothing");
      else if (!given.recognised) assert.equal(step, "keep");
    }),
  );
});

test("between the marks the one name in staging decides", () => {
  const between = { lsn: 5n, ahead: 0n, published: 4n, further: 3n, recognised: true };
  assert.equal(decide({ ...between, staged: "absent" }).step, "flush names");
  assert.equal(decide({ ...between, staged: "only name" }).step, "publish");
  assert.equal(decide({ ...between, staged: "one of several names" }).step, "remove from staging");
});
