/**
 * How many messages a second the delivery executor makes durable, in both commit modes.
 *
 *   node bench/executor.ts               the headline, beside "one by one" and unsafe batches
 *   node bench/executor.ts --sweep       maxConcurrentFlushes × maxWaitMs × callers, by --commit
 *   node bench/executor.ts --primitives  ways to flush one batch: why there is a disk thread
 *   … --flush-ms 5                       on a disk whose flush takes 5 ms (root only)
 *   … --runs 3 --seconds 3 --warmup 1 --repeats 4 --only journal
 *
 * Closed loop: each caller delivers its next message of 4 KB when its last one is durable. Every
 * run has a fresh file system (without root a fresh directory); the rows take turns. Figures are
 * medians over the runs. A run on a disturbed machine (support/machine.ts) is repeated.
 */
import { referenceTuning } from "../src/delivery/index.ts";
import { type BenchDisk, freshDisk, skipUnlessPossible } from "./support/disk.ts";
import {
  type BenchCommit,
  type BenchCommitment,
  type BenchLoad,
  loadExecutor,
  type Measured,
} from "./support/executor-load.ts";
import { type Primitive, primitives, runPrimitive } from "./support/primitives.ts";
import {
  benchOptions,
  disturbanceNote,
  ms,
  printResults,
  printTitle,
  takeTurns,
  whole,
} from "./support/run.ts";

const options = benchOptions({
  sweep: false,
  primitives: false,
  commit: "journal",
  only: "",
  "flush-ms": 0,
  runs: 3,
  seconds: 3,
  warmup: 1,
  repeats: 4,
});
const { runs, seconds, "flush-ms": flushMs } = options;
const warmupMs = options.warmup * 1_000;
const bodyBytes = 4096;
skipUnlessPossible({ flushMs });

/** A row of the table: its first cells, and the function that makes one run on a fresh disk. */
interface Row {
  readonly name: readonly string[];
  readonly run: (disk: BenchDisk) => Promise<Measured>;
}

type Knobs = BenchCommitment & Pick<BenchLoad, "callers" | "mailboxes">;

function executorRow(name: readonly string[], knobs: Knobs): Row {
  const load = { ...knobs, bodyBytes, warmupMs, measureMs: seconds * 1_000 };
  return { name, run: (disk) => loadExecutor(disk.path, load) };
}

function primitiveRow(primitive: Primitive, mailboxes: number, batch = 64): Row {
  const load = { mailboxes, bodyBytes, batch, flushes: 2, seconds };
  return {
    name: [primitive, String(mailboxes), "–"],
    run: async (disk) => ({
      ...(await runPrimitive(primitive, { ...load, directory: disk.path })),
      batch,
      flushesEach: undefined,
      visible: undefined,
    }),
  };
}

function headline(): Row[] {
  const commits: readonly BenchCommit[] = ["synced", "journal"];
  const ofExecutor = (callers: number, mailboxes: number) =>
    commits.map((commit) =>
      executorRow([`Postbag, ${commit}`, String(mailboxes), String(callers)], {
        commit,
        callers,
        mailboxes,
      }),
    );
  return [1, 200]
    .flatMap((mailboxes) => [
      primitiveRow("one by one", mailboxes),
      primitiveRow("unsafe batch", mailboxes),
      ...ofExecutor(64, mailboxes),
    ])
    .concat(ofExecutor(1, 1));
}

function sweep(): Row[] {
  const commit = options.commit as BenchCommit;
  const rows: Row[] = [];
  for (const callers of [1, 8, 32, 64]) {
    for (const maxConcurrentFlushes of [1, 2, 3]) {
      for (const maxWaitMs of [0, 2, referenceTuning.maxWaitMs]) {
        const name = [callers, maxConcurrentFlushes, maxWaitMs].map(String);
        const tuning = { maxConcurrentFlushes, maxWaitMs };
        rows.push(executorRow(name, { commit, callers, mailboxes: 1, tuning }));
      }
    }
  }
  return rows;
}

function everyPrimitive(): Row[] {
  return [1, 200].flatMap((mailboxes) =>
    [64, 8, 3, 1].flatMap((batch) =>
      primitives.map((primitive) => primitiveRow(primitive, mailboxes, batch)),
    ),
  );
}

function cells(of: (figure: (one: Measured) => number | undefined) => number): string[] {
  const flushesEach = of((one) => one.flushesEach);
  return [
    whole(of((one) => one.perSecond)),
    ms(of((one) => one.p50Ms)),
    ms(of((one) => one.p99Ms)),
    of((one) => one.batch).toFixed(1),
    Number.isNaN(flushesEach) ? "–" : flushesEach.toFixed(3),
    whole(of((one) => one.visible?.p50Ms)),
    whole(of((one) => one.visible?.p99Ms)),
    whole(of((one) => one.visible?.maxMs)),
  ];
}

const figures = [
  "messages/s",
  "p50 ms",
  "p99 ms",
  "batch",
  "flushes each",
  "visible p50",
  "visible p99",
  "visible max",
];
const [rows, head] = options.sweep
  ? [sweep(), ["callers", "flushes", "wait ms"]]
  : options.primitives
    ? [everyPrimitive(), ["flushed by", "mailboxes", "callers"]]
    : [headline(), ["what", "mailboxes", "callers"]];
const chosen = rows.filter(({ name }) => name.join(", ").includes(options.only));

{
  await using disk = await freshDisk({ flushMs });
  const commit = options.sweep ? `commit ${options.commit}, 1 mailbox; ` : "";
  printTitle(
    disk.path,
    `4 KB messages; ${commit}${disk.description}; medians of ${runs} runs of ${seconds} s.`,
  );
}
const results = await takeTurns(chosen, options, async (row) => {
  await using disk = await freshDisk({ flushMs });
  return await row.run(disk);
});
printResults([...head, ...figures], results, (row, of) => [...row.name, ...cells(of)]);
console.log(`
* flushes each: flushes of the disk for one message, those of publishing among them.
* visible: milliseconds from durable to visible in \`new/\`, of one message in 16; 0 in synced mode.
${disturbanceNote}`);
if (!options.sweep) {
  console.log(`* "one by one" writes, flushes and renames each message by itself: durable, no group commit.
* "unsafe batch" writes all, flushes \`tmp/\`, renames all, flushes \`new/\`: no data is flushed, and a power
  cut leaves empty files (test/slow/powercut shows it). Not durable; here for its speed alone.
* Latencies of rows without callers are those of a whole batch; two batches are under way at once.`);
}
