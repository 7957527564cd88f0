/**
 * How often the disk under a directory was flushed, as the kernel counts it: for a whole block device,
 * whoever asked for the flush (Documentation/block/stat.rst, "flush I/Os", Linux 5.5 and newer).
 */
import { readFileSync, statSync } from "node:fs";

/** The number of flushes so far; undefined where no device of its own lies under the directory. */
export function flushCounter(directory: string): (() => number) | undefined {
  const device = statSync(directory).dev;
  // The kernel packs the numbers of a device like makedev(3).
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
