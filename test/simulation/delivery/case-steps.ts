/** What the single schedules of delivery through the journal are written in. */
import assert from "node:assert/strict";
import type { JournalCommitter } from "../../../src/delivery/commit/journal-committer.ts";
import type { FileSystem } from "../../../src/system/index.ts";
import type { Operation } from "../../support/sim-disk/disk.ts";
import type { World } from "./harness.ts";

/** Opens the post office, does something, and ends as if killed, or in good order. */
export async function life(
  world: World,
  work: (disk: JournalCommitter) => Promise<void>,
  end: "close" | "kill" = "close",
): Promise<void> {
  const process = world.disk.start();
  await world.untilEnd(process, async () => {
    const disk = await world.open(process, true);
    await work(disk!);
    if (end === "close") await disk!.close();
  });
  process.kill();
}

/** Delivers messages, notes what is acknowledged, and answers the errno of those that were not. */
export async function send(
  world: World,
  disk: JournalCommitter,
  maildirs: readonly string[],
): Promise<(string | undefined)[]> {
  const deliveries = maildirs.map((maildir) => world.delivery(maildir));
  const results = await disk.commit(deliveries);
  return results.map((result, position) => {
    world.ledger.answered(deliveries[position]!, result.ok ? result.id : undefined);
    return result.ok ? undefined : result.error.errno;
  });
}

export async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; !holds(); turn += 1) {
    assert.ok(turn < 20_000, "it never came about");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Says of a call whether it renames into a mailbox. */
export function intoMailbox(mailbox: string) {
  return ({ name, path }: Operation) => name === "rename" && path.includes(`-> ${mailbox}/new/`);
}

/** Lets no staged file reach the disk: what is acknowledged stays in the log. */
export function holdBack(world: World): void {
  const matches = ({ name, path }: Operation) => name === "fdatasync" && path.includes(".postbag-");
  world.disk.faults = [{ errno: "EIO", matches }];
}

export type Stall = (key: keyof FileSystem, path: string) => boolean;

/** A file system of which some flushes never return, until told otherwise. */
export function stalling(stalls: { now: Stall | undefined }) {
  const never = () => new Promise<void>(() => {});
  return (fileSystem: FileSystem) => {
    const paths = new Map<number, string>();
    return new Proxy(fileSystem, {
      get: (target, key: keyof FileSystem) => {
        if (key === "openDirectory") {
          return (path: string) => {
            const directory = target.openDirectory(path);
            paths.set(directory, path);
            return directory;
          };
        }
        if (key !== "sync" && key !== "syncData") return target[key].bind(target);
        return (file: number) =>
          stalls.now?.(key, paths.get(file) ?? "") ? never() : target[key](file);
      },
    });
  };
}
