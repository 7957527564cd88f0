/**
 * The long run of real power cuts: records mail being delivered onto each file system, cuts the power
 * of each recording many times, and prints what was found. Ends with 1 when a promise was broken.
 *
 * Columns: acknowledged messages looked for over all cuts; of these lost or damaged; other visible
 * files that were not whole; messages under two names; a reader's moves that survived as both names,
 * which only btrfs may do; cuts after which the file system could not be mounted.
 *
 *   npm run powercut -- [--cuts 100] [--messages 1000] [--seed N] [--fs ext4,xfs,btrfs]
 *
 * Needs root, loop devices, FUSE, nbdfuse (Debian: libnbd-bin, fuse3) and the mkfs programs; a file
 * system that cannot be tried is named with the reason.
 */
import { execFileSync } from "node:child_process";
import { arch, cpus, release } from "node:os";
import { parseArgs } from "node:util";
import type { Method } from "../test/powercut/methods.ts";
import { chooseCuts, cutPower, recordRun } from "../test/powercut/power-cut.ts";
import { broken, type Tally, tally } from "../test/powercut/report.ts";
import { type FileSystemName, fileSystems, missing } from "../test/support/recorded-disk/index.ts";

interface Way {
  readonly method: Method;
  readonly callers: number;
  /** Messages one caller hands over together. */
  readonly together: number;
}

const ways: readonly Way[] = [
  { method: "server", callers: 32, together: 1 },
  { method: "executor", callers: 32, together: 1 },
  { method: "executor, reference tuning", callers: 32, together: 1 },
  { method: "maildir, each file flushed", callers: 4, together: 8 },
  { method: "maildir, file system flushed", callers: 4, together: 8 },
];
/** Known to lose mail: without these rows the others would prove nothing. */
const losing: readonly Way[] = [
  { method: "directory syncs only", callers: 1, together: 8 },
  { method: "maildir without data syncs", callers: 1, together: 8 },
  { method: "maildir without name syncs", callers: 1, together: 8 },
];

const { values } = parseArgs({
  options: {
    cuts: { type: "string", default: "100" },
    messages: { type: "string", default: "1000" },
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    fs: { type: "string", default: fileSystems.join(",") },
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

function chosenFileSystems(): FileSystemName[] {
  const chosen = fileSystems.filter((name) => values.fs.split(",").includes(name));
  if (chosen.length === values.fs.split(",").length) return chosen;
  return refuse(`--fs takes ${fileSystems.join(",")}; got ${values.fs}`);
}

function refuse(why: string): never {
  console.error(`powercut: ${why}`);
  process.exit(2);
}

const columns: Readonly<Record<string, keyof Tally>> = {
  cuts: "cuts",
  checked: "checked",
  lost: "lost",
  damaged: "damaged",
  partial: "partial",
  doubled: "duplicated",
  "half moved": "halfMoved",
  unmountable: "unmountable",
};

function row(first: string, cells: readonly (string | number)[]): string {
  return first.padEnd(30) + cells.map((cell) => String(cell).padStart(12)).join("");
}

async function cutOneRun(fileSystem: FileSystemName, way: Way, atMost: number): Promise<void> {
  const run = await recordRun(fileSystem, { ...way, seed, messages });
  const results = await cutPower(run, chooseCuts(run, atMost, seed));
  const found = tally(results);
  const figures = Object.values(columns).map((figure) => found[figure]);
  console.log(row(way.method, figures));
  if (ways.includes(way)) {
    for (const fault of broken(run, results)) {
      console.log(`  ${fault}`);
      process.exitCode = 1;
    }
  } else if (found.lost + found.damaged === 0) {
    console.log("  this loses mail, and the rig did not notice");
    process.exitCode = 1;
  }
}

function commit(): string {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

console.log(`Linux ${release()} ${arch()}, ${cpus().length} cores, Node ${process.version}`);
console.log(`commit ${commit()}, seed ${seed}, ${messages} messages a run`);
for (const fileSystem of chosenFileSystems()) {
  const lack = missing(fileSystem);
  console.log(
    lack ? `\n${fileSystem}: skipped, ${lack}` : `\n${row(fileSystem, Object.keys(columns))}`,
  );
  if (lack !== undefined) continue;
  for (const way of ways) await cutOneRun(fileSystem, way, cuts);
  for (const way of losing) await cutOneRun(fileSystem, way, Math.min(cuts, 15));
}
