/**
 * Judges by the mount table (proc_pid_mountinfo(5)) whether the file system under a folder keeps
 * mail through a power cut. Called by `doctor`, by the server at its start, and by `bench`.
 *
 * Durable mail needs two properties: a flush that returned has reached the disk, and after a crash
 * a renamed file has the old name or the new one. docs/explanation/durability.md names the file
 * systems on which both were tested.
 */
import { readFileSync, realpathSync } from "node:fs";
import { dirname, resolve } from "node:path";

export interface Mount {
  readonly mountPoint: string;
  readonly type: string;
  /** Options of the mount, then those of the file system, such as `rw` and `data=ordered`. */
  readonly options: readonly string[];
}

export interface FileSystemVerdict {
  readonly kind: "safe" | "doubtful" | "unsafe";
  /** The reason, and advice unless the kind is `safe`; one or two sentences. */
  readonly text: string;
}

const tested = ["ext4", "xfs", "btrfs"];
const inMemory = ["tmpfs", "ramfs", "hugetlbfs"];

/** The mount that holds `path`, or the nearest parent of `path` that exists. */
export function mountOf(path: string, table = readMountTable()): Mount | undefined {
  const real = nearestExisting(path);
  let found: Mount | undefined;
  for (const mount of parseMountTable(table)) {
    const { mountPoint } = mount;
    const holds = mountPoint === "/" || real === mountPoint || real.startsWith(`${mountPoint}/`);
    // A later line of the table covers an earlier line with the same mount point.
    if (holds && mountPoint.length >= (found?.mountPoint.length ?? 0)) found = mount;
  }
  return found;
}

/** Judges a mount by its type and its options. */
export function judge({ mountPoint, type, options }: Mount): FileSystemVerdict {
  const where = `${mountPoint} (${type})`;
  const use = "Keep mail on a local ext4, XFS or btrfs";
  const unsafe = (why: string): FileSystemVerdict => ({
    kind: "unsafe",
    text: `${where} ${why}. ${use}`,
  });
  const doubtful = (why: string, advice = use): FileSystemVerdict => ({
    kind: "doubtful",
    text: `${where} ${why}. ${advice}`,
  });

  if (inMemory.includes(type)) return unsafe("lives in memory: a power cut empties it");
  if (/^(nfs|cifs|smb)/.test(type) || ["9p", "ceph", "virtiofs"].includes(type)) {
    return unsafe("is a network file system: fsync and locks are not reliable");
  }
  if (type.startsWith("fuse")) return unsafe("is served by a program, whose flushes are not known");
  if (type === "overlay" && options.includes("volatile")) {
    return unsafe("is an overlay mounted volatile: it omits every flush");
  }
  if (options.includes("nobarrier") || options.includes("barrier=0")) {
    return doubtful(
      "is mounted without barriers: a flush does not reach the disk",
      "Remount it with barriers",
    );
  }
  if (options.includes("data=writeback")) {
    return doubtful(
      "is mounted with data=writeback: a crash can show old blocks in new files",
      "Remount it with data=ordered",
    );
  }
  if (type === "overlay") {
    return doubtful(
      "is an overlay: it is as safe as the file system below it, which is not visible here",
    );
  }
  if (tested.includes(type))
    return { kind: "safe", text: `${where} keeps mail through a power cut` };
  return doubtful("was not tested for power cuts");
}

/** Reads lines of the form `36 35 98:0 /root /mount opts - type source superopts`. */
function parseMountTable(table: string): Mount[] {
  return table.split("\n").flatMap((line) => {
    const [left, right] = line.split(" - ");
    const [, , , , mountPoint, mountOptions] = left?.split(" ") ?? [];
    const [type, , superOptions] = right?.split(" ") ?? [];
    if (mountPoint === undefined || mountOptions === undefined || type === undefined) return [];
    const options = [...mountOptions.split(","), ...(superOptions?.split(",") ?? [])];
    return [{ mountPoint: unescaped(mountPoint), type, options }];
  });
}

/** The table writes spaces and the like as `\040`. */
function unescaped(path: string): string {
  return path.replace(/\\(\d{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

function readMountTable(): string {
  return readFileSync("/proc/self/mountinfo", "utf8");
}

/** The path with links resolved; of a path that does not exist, its nearest existing parent. */
export function nearestExisting(path: string): string {
  for (let current = resolve(path); ; current = dirname(current)) {
    try {
      return realpathSync(current);
    } catch (error) {
      if (current === dirname(current)) throw error;
    }
  }
}
