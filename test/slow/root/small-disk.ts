/** A small ext4 in an image file, which a test can fill, make read-only and freeze. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { atEnd } from "../../support/temporary.ts";

export interface SmallDisk {
  readonly path: string;
  /** Changes mount options, such as `ro`. */
  readonly remount: (options: string) => void;
  /** Unmounts the disk and mounts it again. */
  readonly mountAgain: () => void;
  /** Makes every write to the disk wait until `thaw` is called. */
  readonly freeze: () => void;
  readonly thaw: () => void;
}

/** Why this machine cannot make a small disk; `undefined` when it can. */
export function whyNoDisk(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root";
  for (const program of ["mkfs.ext4", "losetup", "fsfreeze"]) {
    if (spawnSync(program, ["--help"]).error) return `needs ${program}`;
  }
  return spawnSync("losetup", ["--find"]).status === 0 ? undefined : "needs a loop device";
}

/** Creates and mounts a disk inside `folder`; it is unmounted after the test. */
export function mountSmallDisk(
  t: TestContext,
  folder: string,
  { megabytes = 32, inodes = 4_096, mountOptions = "rw" } = {},
): SmallDisk {
  const image = join(folder, "disk.img");
  const path = join(folder, "disk");
  mkdirSync(path);
  writeFileSync(image, "");
  truncateSync(image, megabytes * 2 ** 20);
  execFileSync("mkfs.ext4", ["-q", "-m", "0", "-N", String(inodes), image]);
  const mount = () => execFileSync("mount", ["-o", `loop,${mountOptions}`, image, path]);
  mount();
  let isFrozen = false;
  const thaw = () => {
    if (isFrozen) execFileSync("fsfreeze", ["--unfreeze", path]);
    isFrozen = false;
  };
  atEnd(t, () => {
    thaw();
    execFileSync("umount", [path]);
  });
  return {
    path,
    thaw,
    mountAgain: () => {
      execFileSync("umount", [path]);
      mount();
    },
    remount: (options) => {
      execFileSync("mount", ["-o", `remount,${options}`, path]);
    },
    freeze: () => {
      execFileSync("fsfreeze", ["--freeze", path]);
      isFrozen = true;
    },
  };
}

/** Writes a file that takes all free space of its disk, to the last block. */
export function fill(path: string): void {
  const file = openSync(path, "w");
  for (let size = 2 ** 20; size >= 512; size /= 2) {
    try {
      for (;;) writeSync(file, Buffer.alloc(size));
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
    }
  }
  fsyncSync(file);
  closeSync(file);
}
