import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import {
  type Disturbance,
  isQuiet,
  parseCpuTimes,
  parseProcessTimes,
  percentOf,
  quietRuns,
  ticksOfOthers,
  watchMachine,
} from "./machine.ts";

test("steal is the eighth figure of the cpu line, and guest time is not counted twice", () => {
  const stat =
    "cpu  100 20 30 400 5 6 7 80 50 9\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 12 0\nctxt 1990473\n";
  assert.deepEqual(parseCpuTimes(stat), { total: 648, stolen: 80 });
});

test("a cpu line without steal gives 0, and a file without a cpu line is an error", () => {
  assert.equal(parseCpuTimes("cpu  1 2 3 4\n").stolen, 0);
  assert.throws(() => parseCpuTimes("intr 12 0\n"), /no line for all processors/);
});

test("the times of a process are read after a name with blanks and parentheses", () => {
  const stat = "812 (a) b (c)) S 7 812 812 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0 1 1 1";
  assert.deepEqual(parseProcessTimes(stat), { pid: 812, parent: 7, ticks: 127 });
});

test("ticks of others exclude kernel threads, this process and its descendants", () => {
  const processes = [
    { pid: 1, parent: 0, ticks: 1 },
    { pid: 2, parent: 0, ticks: 10 },
    { pid: 3, parent: 2, ticks: 100 },
    { pid: 50, parent: 1, ticks: 1_000 },
    { pid: 51, parent: 50, ticks: 10_000 },
    { pid: 60, parent: 1, ticks: 100_000 },
    { pid: 70, parent: 999, ticks: 1_000_000 },
  ];
  assert.equal(ticksOfOthers(processes, 50), 1_100_001);
});

test("a share lies between 0 and 100 percent, whatever ticks were read", () => {
  assert.equal(percentOf(25, 100), 25);
  assert.equal(percentOf(2, 1), 100);
  assert.equal(percentOf(-1, 10), 0);
  assert.equal(percentOf(1, 0), 0);
});

test("the processor times of this machine are read from /proc", () => {
  assert.deepEqual(Object.keys(watchMachine()()), ["stolen", "others"]);
  assert.ok(parseCpuTimes(readFileSync("/proc/stat", "utf8")).total > 0);
  const own = parseProcessTimes(readFileSync("/proc/self/stat", "utf8"));
  assert.equal(own.pid, process.pid);
});

function machineThatIs(...disturbances: Disturbance[]) {
  return () => () => disturbances.shift() ?? { stolen: 0, others: 0 };
}

test("a disturbed run is repeated until a try is quiet", async () => {
  const runs = quietRuns(5, machineThatIs({ stolen: 30, others: 0 }, { stolen: 0, others: 11 }));
  let count = 0;
  const { result, disturbance } = await runs(async () => ++count);
  assert.equal(result, 3);
  assert.ok(isQuiet(disturbance));
});

test("all runs share the repeats, and without a quiet try the quietest one counts", async () => {
  const busy = [40, 20, 30, 25, 50].map((stolen) => ({ stolen, others: 0 }));
  const runs = quietRuns(3, machineThatIs(...busy));
  let count = 0;
  const first = await runs(async () => ++count);
  assert.deepEqual(first, { result: 2, disturbance: { stolen: 20, others: 0 } });
  const second = await runs(async () => ++count);
  assert.deepEqual(second, { result: 5, disturbance: { stolen: 50, others: 0 } });
});
