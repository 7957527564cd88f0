/**
 * A file system on a disk whose flush takes a set time, for benches and experiments.
 *
 *   node test/support/slow-disk.ts up DIR [--fs ext4] [--flush-ms 5] [--size-mb 512]
 *   node test/support/slow-disk.ts stat DIR     flushes, writes and bytes since `up`
 *   node test/support/slow-disk.ts down DIR     unmounts the disk and discards its contents
 *
 * DIR must not exist yet; the file system is mounted at DIR/mnt. A process holds the disk in memory
 * and shares the machine's cores with the measured program: figures of one machine can be compared,
 * not quoted. Code uses `RecordedDisk.up({ fileSystem, flushMs })`, which ends with the process.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import {
  ask,
  type DiskCounters,
  type FileSystemName,
  fileSystems,
  missing,
  RecordedDisk,
  takeDown,
} from "./recorded-disk/index.ts";

const usage =
  "usage: slow-disk.ts up|stat|down DIR [--fs ext4|xfs|btrfs] [--flush-ms 5] [--size-mb 512]";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    fs: { type: "string", default: "ext4" },
    "flush-ms": { type: "string", default: "5" },
    "size-mb": { type: "string", default: "512" },
  },
});

async function up(directory: string): Promise<void> {
  const fileSystem = values.fs as FileSystemName;
  if (!fileSystems.includes(fileSystem))
    throw new Error(`the file system ${values.fs} is not supported`);
  const reason = missing(fileSystem);
  if (reason !== undefined) throw new Error(reason);
  const disk = await RecordedDisk.up({
    fileSystem,
    directory,
    flushMs: wholeNumber("--flush-ms", values["flush-ms"]),
    sizeMb: wholeNumber("--size-mb", values["size-mb"]),
    owned: false,
  });
  console.log(disk.mountPoint);
}

function wholeNumber(name: string, value: string): number {
  if (!/^\d+$/.test(value)) throw new Error(`${name} must be a whole number; got ${value}`);
  return Number(value);
}

async function main(verb: string | undefined, path: string | undefined): Promise<void> {
  if (path === undefined) throw new Error(usage);
  const directory = resolve(path);
  switch (verb) {
    case "up":
      return up(directory);
    case "stat": {
      const counters = await ask<DiskCounters>(directory, { ask: "counters" });
      console.log(`${counters.flushes} ${counters.writes} ${counters.bytesWritten}`);
      return;
    }
    case "down":
      return takeDown(directory);
    default:
      throw new Error(usage);
  }
}

try {
  await main(...(positionals as [string?, string?]));
} catch (cause) {
  console.error(`slow-disk: ${cause instanceof Error ? cause.message : cause}`);
  process.exitCode = 1;
}
