/**
 * What stands above every table of figures: without the machine, the kernel, the file system and the
 * commit a number says nothing.
 */
import { execFileSync } from "node:child_process";
import { readFileSync, realpathSync } from "node:fs";
import { availableParallelism, cpus, release, totalmem } from "node:os";

/**
 * Prints machine, kernel, Node, file system and commit.
 *
 * @param directory - where the bench writes; its file system is the one named.
 */
export function printHeader(directory = process.cwd()): void {
  const memoryGiB = (totalmem() / 2 ** 30).toFixed(1);
  console.log(
    [
      `machine      ${cpus()[0]?.model.trim()}, ${availableParallelism()} cores, ${memoryGiB} GiB`,
      `kernel       ${release()}`,
      `node         ${process.version}`,
      `file system  ${fileSystemOf(directory)}`,
      `commit       ${commit()}`,
      `date         ${new Date().toISOString().slice(0, 10)}`,
      "",
    ].join("\n"),
  );
}

/** The type of the file system that holds a directory, as the kernel calls it. */
export function fileSystemOf(directory: string): string {
  const path = `${realpathSync(directory)}/`;
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .map((line) => line.split(" "))
    .map(([, mountPoint = "", type = ""]) => ({ mountPoint: unescapeMount(mountPoint), type }))
    .filter(({ mountPoint }) => mountPoint && path.startsWith(`${mountPoint.replace(/\/$/, "")}/`));
  // The deepest mount point holds the directory; of several in one place the last one covers the others.
  const deepest = Math.max(...mounts.map(({ mountPoint }) => mountPoint.length));
  return mounts.findLast(({ mountPoint }) => mountPoint.length === deepest)?.type ?? "unknown";
}

/** The kernel writes spaces and the like as octal escapes. */
function unescapeMount(text: string): string {
  return text.replace(/\\(\d{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** The commit, with a `+` when files differ from it. */
function commit(): string {
  try {
    const git = (...words: string[]) => execFileSync("git", words, { encoding: "utf8" }).trim();
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return git("rev-parse", "--short", "HEAD") + (changed ? "+" : "");
  } catch {
    return "not a git checkout";
  }
}
