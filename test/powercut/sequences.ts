/**
 * Three ways to write a batch of mail into a Maildir by hand: one that keeps it, and two known to lose
 * it. They prove the rig: what it says about the engine counts only if it catches these.
 */
import { randomUUID } from "node:crypto";
import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  renameSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";

export type DeliverBatch = (mailbox: string, bodies: readonly Buffer[]) => Promise<string[]>;

/** Everything that is synced in the right order. */
export const careful = sequence({ syncData: true, syncNames: true });
/** Group commit by directory syncs only: the names survive, the octets may not. */
export const withoutDataSync = sequence({ syncData: false, syncNames: true });
/** The octets are safe, the names that lead to them may not be. */
export const withoutNameSync = sequence({ syncData: true, syncNames: false });

function sequence(does: { syncData: boolean; syncNames: boolean }): DeliverBatch {
  return async (mailbox, bodies) => {
    const sub = (name: string) => join(mailbox, name);
    for (const name of ["tmp", "new", "cur"]) mkdirSync(sub(name), { recursive: true });
    for (const path of [sub("new"), sub("cur"), sub("tmp"), mailbox, dirname(mailbox)]) sync(path);
    const names = bodies.map((body) => `${randomUUID()},S=${body.length}`);
    for (const [index, name] of names.entries()) {
      const file = openSync(join(sub("tmp"), name), "wx", 0o600);
      writeSync(file, bodies[index]!);
      if (does.syncData) fdatasyncSync(file);
      closeSync(file);
    }
    if (does.syncNames && !does.syncData) sync(sub("tmp"));
    for (const name of names) renameSync(join(sub("tmp"), name), join(sub("new"), name));
    if (does.syncNames) {
      sync(sub("new"));
      sync(sub("tmp"));
    }
    return names;
  };
}

function sync(directory: string): void {
  const descriptor = openSync(directory, "r");
  fsyncSync(descriptor);
  closeSync(descriptor);
}
