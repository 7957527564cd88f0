/**
 * A fresh disk for one run of a bench.
 *
 * For half a minute after thousands of files were deleted ext4 is several times slower than before,
 * so every run has its own file system: as root an ext4 image mounted on a loop device, else a new
 * directory. With `flushMs` it is a device-mapper disk in memory whose every flush takes that long.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { missing, RecordedDisk } from "../../test/support/recorded-disk/index.ts";

export interface BenchDisk extends AsyncDisposable {
  /** An empty directory on the disk. */
  readonly path: string;
  /** What the disk is, for the line above the figures. */
  readonly description: string;
}

export interface BenchDiskOptions {
  /** How long a flush takes, in milliseconds. @defaultValue 0: as long as on the machine's disk */
  readonly flushMs?: number;
  /** Size of the file system, in MiB. @defaultValue 4096, or 1024 in memory with `flushMs` */
  readonly sizeMb?: number;
}

/** Ends the program with status 0 and the reason where a disk with this `flushMs` is impossible. */
export function skipUnlessPossible({ flushMs = 0 }: BenchDiskOptions): void {
  const lack = flushMs > 0 ? missing("ext4") : undefined;
  if (lack === undefined) return;
  console.log(`Skipped: a disk whose flush takes ${flushMs} ms ${lack}.`);
  process.exit(0);
}

/**
 * Makes a disk; disposing of it removes it.
 *
 * @throws when a disk with `flushMs` cannot be made here; the message names the missing program.
 */
export async function freshDisk({ flushMs = 0, sizeMb }: BenchDiskOptions): Promise<BenchDisk> {
  if (flushMs > 0) {
    const lack = missing("ext4");
    if (lack !== undefined) throw new Error(`no disk with a slow flush here: it ${lack}`);
    const disk = await RecordedDisk.up({ fileSystem: "ext4", flushMs, sizeMb: sizeMb ?? 1024 });
    return {
      path: disk.mountPoint,
      description: `fresh ext4 in memory, ${flushMs} ms a flush`,
      [Symbol.asyncDispose]: () => disk.down(),
    };
  }
  const directory = mkdtempSync(join(tmpdir(), "postbag-bench-"));
  if (process.getuid?.() !== 0) {
    return {
      path: directory,
      description: "a fresh directory (root gets a fresh file system)",
      [Symbol.asyncDispose]: async () => rmSync(directory, { recursive: true, force: true }),
    };
  }
  const image = join(directory, "image");
  const path = join(directory, "mnt");
  writeFileSync(image, "");
  truncateSync(image, (sizeMb ?? 4096) * 1024 * 1024);
  mkdirSync(path);
  execFileSync("mkfs.ext4", ["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image]);
  execFileSync("mount", ["-o", "loop", image, path]);
  const onSignal = () => {
    // `--lazy`, because child processes may still write there until they end with this process.
    execFileSync("umount", ["--lazy", path]);
    rmSync(directory, { recursive: true, force: true });
    process.exit(1);
  };
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  return {
    path,
    description: "fresh ext4 on a loop device",
    [Symbol.asyncDispose]: async () => {
      process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
      execFileSync("umount", [path]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
