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

/** Figures in which all cases have the same row, except what `change` returns for a case. */
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

test("without a gain synced commits and the default limits are advised", () => {
  const { reasons, ...settings } = adviceFor(figures(() => ({})));
  assert.deepEqual(settings, { commit: "synced", maxBatch: 64, maxConcurrentFlushes: 2 });
  assert.match(reasons.join("\n"), /gains too little here .* nothing to recover/);
});

test("a journal with twice the rate of synced commits under load is advised", () => {
  const { commit, publishWithinMs } = adviceFor(figures(onlyFor("journal", { perSecond: 2_000 })));
  assert.deepEqual({ commit, publishWithinMs }, { commit: "journal", publishWithinMs: 250 });
});

test("a gain of 10 percent, below the needed 15, changes no setting", () => {
  assert.equal(adviceFor(figures(onlyFor("journal", { perSecond: 1_100 }))).commit, "synced");
  const slightly = adviceFor(
    figures((one) =>
      one.maxConcurrentFlushes === 1 || one.maxBatch !== undefined ? { perSecond: 1_100 } : {},
    ),
  );
  assert.deepEqual([slightly.maxConcurrentFlushes, slightly.maxBatch], [2, 64]);
});

test("a journal with shorter waits for one client is advised unless its rate is lower", () => {
  const sooner = { p50Ms: 2 };
  assert.equal(adviceFor(figures(onlyFor("journal", sooner))).commit, "journal");
  const slower = { ...sooner, perSecond: 500 };
  assert.equal(adviceFor(figures(onlyFor("journal", slower))).commit, "synced");
});

test("one flush at a time is advised where its rate is higher than with two", () => {
  const advice = adviceFor(
    figures((one) => (one.maxConcurrentFlushes === 1 ? { perSecond: 1_400 } : {})),
  );
  assert.equal(advice.maxConcurrentFlushes, 1);
  assert.match(
    advice.reasons.join("\n"),
    /1,400 messages a second with one batch .* 1,000 with two/,
  );
});

test("batches of 256 are advised where 256 clients have a higher rate with them", () => {
  const advice = adviceFor(figures((one) => (one.maxBatch === crowd ? { perSecond: 3_000 } : {})));
  assert.equal(advice.maxBatch, crowd);
});

test("limits are advised by the figures of the advised commit mode only", () => {
  const advice = adviceFor(
    figures((one) => {
      if (one.commit === "journal") return { perSecond: 3_000 };
      return one.maxConcurrentFlushes === 1 || one.maxBatch ? { perSecond: 2_000 } : {};
    }),
  );
  assert.deepEqual([advice.maxConcurrentFlushes, advice.maxBatch], [2, 64]);
});

test("publishing that takes over 250 ms gets the next multiple of 250 as its limit", () => {
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

test("figures that lack a case are an error", () => {
  const { flush, rows } = figures(() => ({}));
  assert.throws(() => adviceFor({ flush, rows: rows.slice(1) }), /not measured/);
});
