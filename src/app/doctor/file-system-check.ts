/**
 * Judges whether the file system under a folder can keep mail through a power cut.
 *
 * The promise rests on two things: a flush that returned has reached the disk, and a rename survives
 * a crash as the old name or the new one. docs/explanation/durability.md names the file systems on which both
 * were tested; here the mount table (proc_pid_mountinfo(5)) is read and compared.
 */
import { readFileSync, realpathSync } from "node:fs";
import { dirname, resolve } from "node:path";

export interface Mount {
  readonly mountPoint: string;
  readonly type: string;
  /** Options of the mount and of the file system together. */
  readonly options: readonly string[];
}

export interface FileSystemVerdict {
  readonly kind: "keeps" | "doubtful" | "loses";
  /** Why, and what to do unless it keeps; one or two sentences. */
  readonly text: string;
}

const tested = ["ext4", "xfs", "btrfs"];
const inMemory = ["tmpfs", "ramfs", "hugetlbfs"];

/** The mount that holds `path`, or its nearest existing parent. */
export function mountOf(path: string, table = readMountTable()): Mount | undefined {
  const real = nearestExisting(path);
  let found: Mount | undefined;
  for (const mount of parseMountTable(table)) {
    const { mountPoint } = mount;
    const holds = mountPoint === "/" || real === mountPoint || real.startsWith(`${mountPoint}/`);
    // Later lines cover earlier ones at the same place.
    if (holds && mountPoint.length >= (found?.mountPoint.length ?? 0)) found = mount;
  }
  return found;
}

/** Says what the promises are worth on this mount. */
export function judge({ mountPoint, type, options }: Mount): FileSystemVerdict {
  const where = `${mountPoint} (${type})`;
  const use = "Keep mail on a local ext4, XFS or btrfs";
  const loses = (why: string): FileSystemVerdict => ({
    kind: "loses",
    text: `${where} ${why}. ${use}`,
  });
  const doubtful = (why: string, advice = use): FileSystemVerdict => ({
    kind: "doubtful",
    text: `${where} ${why}. ${advice}`,
  });

  if (inMemory.includes(type)) return loses("lives in memory: a power cut empties it");
  if (/^(nfs|cifs|smb)/.test(type) || ["9p", "ceph", "virtiofs"].includes(type)) {
    return loses("is on another machine: locks and flushes are not what they are on a disk");
  }
  if (type.startsWith("fuse"))
    return loses("is served by a program: nothing is known of its flushes");
  if (type === "overlay" && options.includes("volatile")) {
    return loses("is an overlay mounted volatile: it leaves out every flush");
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
      "is an overlay: it is as good as the file system below, which is not seen here",
    );
  }
  if (tested.includes(type))
    return { kind: "keeps", text: `${where} keeps mail through a power cut` };
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

/** Spaces and the like stand as `\040` in the table. */
function unescaped(path: string): string {
  return path.replace(/\\(\d{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

function readMountTable(): string {
  return readFileSync("/proc/self/mountinfo", "utf8");
}

/** The path itself, links resolved, or the nearest parent that exists. */
export function nearestExisting(path: string): string {
  for (let current = resolve(path); ; current = dirname(current)) {
    try {
      return realpathSync(current);
    } catch (error) {
      if (current === dirname(current)) throw error;
    }
  }
}
