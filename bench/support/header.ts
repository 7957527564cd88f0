/**
 * The paragraph above every table of figures: machine, kernel, file system and commit, without
 * which figures cannot be compared.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, realpathSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";
import { relative } from "node:path";

/**
 * Prints command, commit, date, Node, kernel, machine and file system as a paragraph of Markdown.
 *
 * @param directory The directory in which the bench writes; its file system is printed.
 */
export function printHeader(directory = process.cwd()): void {
  const [, program = "", ...words] = process.argv;
  const memoryGiB = (totalmem() / 2 ** 30).toFixed(1);
  const facts = [
    `\`${["node", relative(process.cwd(), program), ...words.map(shellWord)].join(" ")}\``,
    `commit ${commit()}`,
    new Date().toISOString().slice(0, 10),
    `Node ${process.version.slice(1)}`,
    `Linux ${release()}`,
    `${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, ${memoryGiB} GiB`,
    fileSystemOf(directory),
  ];
  console.log(`${facts.join(", ")}.\n`);
}

function shellWord(text: string): string {
  return /^[\w./=:,-]+$/.test(text) ? text : `"${text}"`;
}

/** The type of the file system that holds a directory, as the kernel calls it. */
export function fileSystemOf(directory: string): string {
  const path = `${realpathSync(directory)}/`;
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .map(([, mountPoint = "", type = ""]) => ({ mountPoint: unescapeMount(mountPoint), type }))
    .filter(({ mountPoint }) => mountPoint && path.startsWith(`${mountPoint.replace(/\/$/, "")}/`));
  // The longest mount point holds the directory; of several mounts there the last one counts.
  const deepest = Math.max(...mounts.map(({ mountPoint }) => mountPoint.length));
  return mounts.findLast(({ mountPoint }) => mountPoint.length === deepest)?.type ?? "unknown";
}

/** The kernel writes spaces and the like as octal escapes. */
function unescapeMount(text: string): string {
  return text.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The short hash of HEAD, with a `+` when tracked files differ from HEAD. */
function commit(): string {
  try {
    const git = (...words: string[]) => execFileSync("git", words, { encoding: "utf8" }).trim();
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return git("rev-parse", "--short", "HEAD") + (changed ? "+" : "");
  } catch {
    return "not a git checkout";
  }
}
