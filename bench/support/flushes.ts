/**
 * How often the disk under a directory was flushed. The kernel counts the flushes of a whole block
 * device by all processes (Documentation/block/stat.rst, "flush I/Os", Linux 5.5 and newer).
 */
import { readFileSync, statSync } from "node:fs";

/**
 * Returns a function that reads the flushes of the device since boot; undefined where the file
 * system of the directory has no block device.
 */
export function flushCounter(directory: string): (() => number) | undefined {
  const device = statSync(directory).dev;
  // `st_dev` has the major and minor number of the device as makedev(3) packs them.
  const major = (device >> 8) & 0xfff;
  const minor = (device & 0xff) | ((device >> 12) & 0xfff00);
  const read = () => {
    const fields = readFileSync(`/sys/dev/block/${major}:${minor}/stat`, "utf8").trim();
    return Number(fields.split(/\s+/)[15]);
  };
  try {
    return Number.isNaN(read()) ? undefined : read;
  } catch {
    return undefined;
  }
}
