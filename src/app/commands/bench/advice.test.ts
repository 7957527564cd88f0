import assert from "node:assert/strict";
import { test } from "node:test";
import {
  adviceFor,
  type BenchCase,
  type BenchFigures,
  type BenchRow,
  benchCases,
  crowd,
} from "./advice.ts";

/** Figures in which nothing differs from anything, but for `change`. */
function figures(change: (one: BenchCase) => Partial<BenchRow>, flushMs = 2): BenchFigures {
  const same = {
    messages: 1_000,
    perSecond: 1_000,
    p50Ms: 5,
    p99Ms: 9,
    batch: 10,
    visible: { p50Ms: 0, p99Ms: 0, maxMs: 0 },
  };
  return {
    flush: { p50Ms: flushMs, p99Ms: 2 * flushMs },
    rows: benchCases.map((one) => ({ ...same, ...one, ...change(one) })),
  };
}

const onlyFor = (commit: string, change: Partial<BenchRow>) => (one: BenchCase) =>
  one.commit === commit ? change : {};

test("a journal without gain is not advised, and the limits stay the defaults", () => {
  const { reasons, ...settings } = adviceFor(figures(() => ({})));
  assert.deepEqual(settings, { commit: "synced", maxBatch: 64, maxConcurrentFlushes: 2 });
  assert.match(reasons.join("\n"), /gains too little here .* nothing to recover/);
});

test("a journal that is clearly faster under load is advised", () => {
  const { commit, publishWithinMs } = adviceFor(figures(onlyFor("journal", { perSecond: 2_000 })));
  assert.deepEqual({ commit, publishWithinMs }, { commit: "journal", publishWithinMs: 250 });
});

test("a gain within noise changes no setting", () => {
  assert.equal(adviceFor(figures(onlyFor("journal", { perSecond: 1_100 }))).commit, "synced");
  const slightly = adviceFor(
    figures((one) =>
      one.maxConcurrentFlushes === 1 || one.maxBatch !== undefined ? { perSecond: 1_100 } : {},
    ),
  );
  assert.deepEqual([slightly.maxConcurrentFlushes, slightly.maxBatch], [2, 64]);
});

test("a journal that answers a lone client faster is advised unless slower under load", () => {
  const sooner = { p50Ms: 2 };
  assert.equal(adviceFor(figures(onlyFor("journal", sooner))).commit, "journal");
  const slower = { ...sooner, perSecond: 500 };
  assert.equal(adviceFor(figures(onlyFor("journal", slower))).commit, "synced");
});

test("one flush at a time is advised where concurrent flushes slow each other down", () => {
  const advice = adviceFor(
    figures((one) => (one.maxConcurrentFlushes === 1 ? { perSecond: 1_400 } : {})),
  );
  assert.equal(advice.maxConcurrentFlushes, 1);
  assert.match(
    advice.reasons.join("\n"),
    /1,400 messages a second with one batch .* 1,000 with two/,
  );
});

test("larger batches are advised where 256 clients gain by them", () => {
  const advice = adviceFor(figures((one) => (one.maxBatch === crowd ? { perSecond: 3_000 } : {})));
  assert.equal(advice.maxBatch, crowd);
});

test("limits are judged by the rows of the advised mode only", () => {
  const advice = adviceFor(
    figures((one) => {
      if (one.commit === "journal") return { perSecond: 3_000 };
      return one.maxConcurrentFlushes === 1 || one.maxBatch ? { perSecond: 2_000 } : {};
    }),
  );
  assert.deepEqual([advice.maxConcurrentFlushes, advice.maxBatch], [2, 64]);
});

test("a disk that publishes too slowly gets the next larger publishWithinMs", () => {
  const late = { perSecond: 2_000, visible: { p50Ms: 200, p99Ms: 510, maxMs: 600 } };
  const advice = adviceFor(figures(onlyFor("journal", late)));
  assert.equal(advice.publishWithinMs, 750);
  assert.match(advice.reasons.at(-1) ?? "", /visible 510 ms after/);
});

test("the cost of a flush is shown as messages a second of one client", () => {
  assert.match(
    adviceFor(figures(() => ({}), 5)).reasons[0] ?? "",
    /5\.0 ms .* at most 200 messages/,
  );
  assert.match(adviceFor(figures(() => ({}), 0.2)).reasons[0] ?? "", /0\.2 ms .* it is quick/);
});

test("missing figures are an error", () => {
  const { flush, rows } = figures(() => ({}));
  assert.throws(() => adviceFor({ flush, rows: rows.slice(1) }), /not measured/);
});
