/**
 * The long run of real power cuts: records mail being delivered onto each file system, cuts the power
 * of each recording many times, and prints what was found. Ends with 1 when a promise was broken.
 *
 * Columns: acknowledged messages looked for over all cuts; messages that recovery took from the journal
 * into their mailboxes; lost or damaged; visible and not whole; there twice; deleted or moved by a
 * reader for good and back again. Two are allowed on btrfs only: a reader's move that survived as both
 * names, and a delete undone that was made before the delivery was settled. Last, cuts after which the
 * file system could not be mounted or the journal not recovered.
 *
 *   npm run powercut -- [--cuts 300] [--messages 600] [--seed N] [--fs ext4,xfs,btrfs]
 *                       [--mode synced,journal]
 *
 * `--cuts` is for each file system and mode, shared among the mode's ways. Needs root, loop devices,
 * FUSE, nbdfuse (Debian: libnbd-bin, fuse3) and the mkfs programs; a file system that cannot be tried
 * is named with the reason.
 */
import { execFileSync } from "node:child_process";
import { arch, cpus, release } from "node:os";
import { parseArgs } from "node:util";
import type { Method } from "../test/slow/powercut/methods.ts";
import {
  chooseBusyCuts,
  chooseCuts,
  cutAtEnd,
  cutPower,
  cutRecovery,
} from "../test/slow/powercut/power-cut.ts";
import { recordRun } from "../test/slow/powercut/record-run.ts";
import { broken, sumOf, type Tally, tally } from "../test/slow/powercut/report.ts";
import { type FileSystemName, fileSystems, missing } from "../test/support/recorded-disk/index.ts";

interface Way {
  readonly method: Method;
  readonly callers: number;
  /** Messages one caller hands over together. @defaultValue 1 */
  readonly together?: number;
  readonly isKilled?: boolean;
  /** Cuts the recovery from each of several cuts, so many times. */
  readonly recoveryCuts?: number;
}

const modes = {
  synced: [
    { method: "server", callers: 32 },
    { method: "executor", callers: 32 },
    { method: "executor, reference tuning", callers: 32 },
    { method: "maildir, each file flushed", callers: 4, together: 8 },
    { method: "maildir, file system flushed", callers: 4, together: 8 },
  ],
  journal: [
    { method: "server, journal", callers: 32 },
    { method: "journal", callers: 32 },
    { method: "journal", callers: 32, isKilled: true },
    { method: "journal on another disk", callers: 32 },
    { method: "journal", callers: 32, recoveryCuts: 5 },
  ],
} as const satisfies Record<string, readonly Way[]>;
type Mode = keyof typeof modes;

/** Known to lose mail: without these rows the others would prove nothing. */
const losing: Readonly<Record<Mode, readonly Method[]>> = {
  synced: ["directory syncs only", "maildir without data syncs", "maildir without name syncs"],
  journal: [
    "journal, written without flushes",
    "journal, marked before the checkpoint",
    "journal, settled before the names",
  ],
};
const losingCuts = 5;

const { values } = parseArgs({
  options: {
    cuts: { type: "string", default: "300" },
    messages: { type: "string", default: "600" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    fs: { type: "string", default: fileSystems.join(",") },
    mode: { type: "string", default: Object.keys(modes).join(",") },
  },
});
const cuts = wholeNumber("cuts");
const messages = wholeNumber("messages");
const seed = wholeNumber("seed");

function wholeNumber(name: "cuts" | "messages" | "seed"): number {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value > 0) return value;
  return refuse(`--${name} must be a whole number above 0; got ${values[name]}`);
}

function chosen<Name extends string>(option: "fs" | "mode", names: readonly Name[]): Name[] {
  const asked = values[option].split(",");
  const found = names.filter((name) => asked.includes(name));
  if (found.length === asked.length) return found;
  return refuse(`--${option} takes ${names.join(",")}; got ${values[option]}`);
}

function refuse(why: string): never {
  console.error(`powercut: ${why}`);
  process.exit(2);
}

const columns: Readonly<Record<string, keyof Tally>> = {
  cuts: "cuts",
  checked: "checked",
  recovered: "recovered",
  lost: "lost",
  damaged: "damaged",
  partial: "partial",
  doubled: "duplicated",
  revived: "revived",
  "half moved": "halfMoved",
  "undone early": "revivedEarly",
  unmountable: "unmountable",
  unrecovered: "unrecoverable",
};

function row(first: string, cells: readonly (string | number)[]): string {
  return first.padEnd(38) + cells.map((cell) => String(cell).padStart(13)).join("");
}

function printTally(name: string, found: Tally): void {
  console.log(
    row(
      name,
      Object.values(columns).map((figure) => found[figure]),
    ),
  );
}

function nameOf({ method, isKilled, recoveryCuts }: Way): string {
  if (isKilled) return `${method}, killed once`;
  return recoveryCuts === undefined ? method : `${method}, cut during recovery`;
}

/** Records one run and cuts it; prints what was found, and each broken promise. */
async function cutOneRun(fileSystem: FileSystemName, way: Way, count: number): Promise<Tally> {
  const { recoveryCuts, ...load } = way;
  const run = await recordRun(fileSystem, { together: 1, ...load, seed, messages });
  const found =
    recoveryCuts === undefined
      ? [{ run, results: await cutPower(run, chooseCuts(run, count, seed)) }]
      : await cutRecovery(
          run,
          chooseBusyCuts(run, Math.ceil(count / recoveryCuts), seed),
          recoveryCuts,
        );
  const total = sumOf(found.map(({ results }) => tally(results)));
  printTally(nameOf(way), total);
  for (const { run, results } of found) {
    for (const fault of broken(run, results)) {
      console.log(`  ${fault}`);
      process.exitCode = 1;
    }
  }
  return total;
}

/** One caller, so that nobody else's flush comes to the help of what was forgotten. */
async function seesLoss(fileSystem: FileSystemName, method: Method): Promise<void> {
  const run = await recordRun(fileSystem, { method, callers: 1, together: 8, seed, messages: 80 });
  const found = tally(
    await cutPower(run, [...chooseCuts(run, losingCuts - 1, seed), cutAtEnd(run)]),
  );
  printTally(`bad: ${method}`, found);
  if (found.lost + found.damaged > 0) return;
  console.log("  this loses mail, and the rig did not notice");
  process.exitCode = 1;
}

function commit(): string {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

const chosenModes = chosen("mode", Object.keys(modes) as Mode[]);
console.log(`Linux ${release()} ${arch()}, ${cpus().length} cores, Node ${process.version}`);
console.log(`${new Date().toISOString().slice(0, 10)}, commit ${commit()}`);
console.log(`seed ${seed}, ${messages} messages a run, ${cuts} cuts for each file system and mode`);
for (const fileSystem of chosen("fs", fileSystems)) {
  const lack = missing(fileSystem);
  if (lack !== undefined) console.log(`\n${fileSystem}: skipped, ${lack}`);
  for (const mode of lack === undefined ? chosenModes : []) {
    console.log(`\n${row(`${fileSystem}, ${mode}`, Object.keys(columns))}`);
    const each = Math.ceil(cuts / modes[mode].length);
    const tallies: Tally[] = [];
    for (const way of modes[mode]) tallies.push(await cutOneRun(fileSystem, way, each));
    printTally("together", sumOf(tallies));
    for (const method of losing[mode]) await seesLoss(fileSystem, method);
  }
}
