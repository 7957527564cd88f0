/** Steps shared by the `*-cases` tests and wrong-volumes.test.ts, on the disk of harness.ts. */
import assert from "node:assert/strict";
import type { JournalCommitter } from "../../../src/delivery/commit/journal-committer.ts";
import type { FileSystem } from "../../../src/system/index.ts";
import type { Operation } from "../../support/sim-disk/disk.ts";
import type { DeliveryHarness } from "./harness.ts";

/** Runs one process: it opens a committer, does `work`, and closes the committer or is killed. */
export async function runProcess(
  harness: DeliveryHarness,
  work: (committer: JournalCommitter) => Promise<void>,
  end: "close" | "kill" = "close",
): Promise<void> {
  const process = harness.disk.start();
  await harness.untilEnd(process, async () => {
    const committer = await harness.open(process, true);
    await work(committer!);
    if (end === "close") await committer!.close();
  });
  process.kill();
}

/** Commits one message for each Maildir; resolves with the errno of each refusal. */
export async function send(
  harness: DeliveryHarness,
  committer: JournalCommitter,
  maildirs: readonly string[],
): Promise<(string | undefined)[]> {
  const deliveries = maildirs.map((maildir) => harness.delivery(maildir));
  const results = await committer.commit(deliveries);
  return results.map((result, position) => {
    harness.expectations.answered(deliveries[position]!, result.ok ? result.id : undefined);
    return result.ok ? undefined : result.error.errno;
  });
}

/** Waits until a condition is true; fails after 20,000 turns of the event loop. */
export async function until(isTrue: () => boolean): Promise<void> {
  for (let turn = 0; !isTrue(); turn += 1) {
    assert.ok(turn < 20_000, "the condition did not come true");
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Matches renames into a mailbox. */
export function intoMailbox(mailbox: string) {
  return ({ name, path }: Operation) => name === "rename" && path.includes(`-> ${mailbox}/new/`);
}

/** Fails every flush of a staged file, so that acknowledged messages stay in the log. */
export function failStaging(harness: DeliveryHarness): void {
  const matches = ({ name, path }: Operation) => name === "fdatasync" && path.includes(".postbag-");
  harness.disk.faults = [{ errno: "EIO", matches }];
}

export type Stall = (key: keyof FileSystem, path: string) => boolean;

/** Changes a file system so that the flushes that `stalls.now` matches never resolve. */
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
