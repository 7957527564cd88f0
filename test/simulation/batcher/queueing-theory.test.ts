/**
 * Natural batching against the figures of a queueing model: one key, one batch in flight, Poisson
 * arrivals, a commit of 5 ms + 0.02 ms per item. The batcher itself runs here, on a simulated
 * clock, with arrivals from a seed.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Batcher } from "../../../src/batcher/index.ts";
import { SeededRandom } from "../../support/seeded-random.ts";
import { SimClock } from "../../support/sim-clock.ts";

interface Figures {
  readonly meanMs: number;
  readonly p99Ms: number;
  readonly averageBatch: number;
}

async function simulate(arrivalsPerSecond: number, arrivals: number, seed: number) {
  const clock = new SimClock({ seed });
  const random = new SeededRandom(seed);
  const latencies: number[] = [];
  let batches = 0;
  const batcher = new Batcher<string, number, number>({
    clock,
    maxBatchItems: 10_000,
    process: ({ items }) => {
      batches += 1;
      const commitMs = 5 + 0.02 * items.length;
      return new Promise((resolve) => clock.setTimeout(() => resolve(items), commitMs));
    },
  });
  const arrive = (left: number): void => {
    const addedAtMs = clock.now();
    void batcher.add("key", left).then(() => latencies.push(clock.now() - addedAtMs));
    if (left > 1) {
      clock.setTimeout(() => arrive(left - 1), random.exponential(1000 / arrivalsPerSecond));
    }
  };
  arrive(arrivals);
  await clock.run();
  latencies.sort((a, b) => a - b);
  const figures: Figures = {
    meanMs: latencies.reduce((sum, latency) => sum + latency, 0) / arrivals,
    p99Ms: latencies[Math.floor(arrivals * 0.99)] ?? Number.NaN,
    averageBatch: arrivals / batches,
  };
  return figures;
}

const table: readonly (Figures & { readonly rate: number; readonly arrivals: number })[] = [
  { rate: 5, arrivals: 20_000, meanMs: 5.1, p99Ms: 8.0, averageBatch: 1.0 },
  { rate: 1000, arrivals: 10_000, meanMs: 7.7, p99Ms: 10.2, averageBatch: 5.1 },
  { rate: 5000, arrivals: 20_000, meanMs: 8.4, p99Ms: 11.1, averageBatch: 28 },
];

for (const { rate, arrivals, ...expected } of table) {
  test(`at ${rate} arrivals a second natural batching is within 5 % of the model`, async () => {
    const seed = 2;
    const figures = await simulate(rate, arrivals, seed);
    for (const name of ["meanMs", "p99Ms", "averageBatch"] as const) {
      const off = Math.abs(figures[name] / expected[name] - 1);
      assert.ok(off <= 0.05, `${name} is ${figures[name]}, not ${expected[name]} (seed ${seed})`);
    }
  });
}
