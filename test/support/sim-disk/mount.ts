/**
 * One file system of the simulated machine, and the order in which its names reach the disk.
 *
 * `"any"`: each unflushed change of a name survives a cut or does not, independently of the others;
 * stricter than btrfs. `"ordered"`: as on ext4 and XFS, a cut leaves the changes up to some step, a
 * rename as a whole, and a flush of one directory also flushes earlier changes of all others.
 */
import type { SeededRandom } from "../seeded-random.ts";
import type { Inode, NameChange } from "./inode.ts";

export type NameOrder = "any" | "ordered";

export class Mount {
  readonly device: number;
  readonly order: NameOrder;
  /** Failed flushes and write-backs so far, for flushes of the whole file system. */
  failures = 0;
  lastErrno = "EIO";
  /** Changes of names that are not durable yet, in the order in which they were made. */
  #pending: NameChange[] = [];
  #steps = 0;

  constructor(device: number, order: NameOrder) {
    this.device = device;
    this.order = order;
  }

  get pending(): readonly NameChange[] {
    return this.#pending;
  }

  add(directory: Inode, name: string, inode: Inode): void {
    this.#steps += 1;
    this.#note(this.#change("add", directory, name, inode));
  }

  remove(directory: Inode, name: string, inode: Inode): void {
    this.#steps += 1;
    this.#note(this.#change("remove", directory, name, inode));
  }

  rename(from: Inode, oldName: string, inode: Inode, to: Inode, newName: string): void {
    this.#steps += 1;
    const added = this.#change("add", to, newName, inode);
    this.#note(added);
    this.#note({ ...this.#change("remove", from, oldName, inode), pair: added });
  }

  /** The changes that a flush of one directory beginning now makes durable. */
  changesOf(directory: Inode): readonly NameChange[] {
    const last = directory.changes.at(-1)?.step ?? 0;
    return this.order === "any"
      ? [...directory.changes]
      : this.#pending.filter(({ step }) => step <= last);
  }

  /**
   * Makes these changes durable. A rename never leaves neither name: the old one is removed only
   * when the new one is durable, and its removal stays pending otherwise.
   */
  commit(changes: readonly NameChange[]): void {
    for (const change of changes) {
      const { directory, kind, name, inode, pair } = change;
      if (change.done || change.lost || (pair && !pair.done)) continue;
      if (kind === "add") directory.durableNames.set(name, inode);
      else if (directory.durableNames.get(name) === inode) directory.durableNames.delete(name);
      change.done = true;
      directory.changes = directory.changes.filter((each) => each !== change);
    }
    this.#pending = this.#pending.filter(({ done }) => !done);
  }

  /** Drops changes after a failed flush: they never become durable. */
  lose(changes: readonly NameChange[]): void {
    for (const change of changes) {
      change.lost = true;
      change.directory.changes = change.directory.changes.filter((each) => each !== change);
    }
    this.#pending = this.#pending.filter(({ lost }) => !lost);
  }

  /** Draws the pending changes that survive a cut. */
  survivors(random: SeededRandom): readonly NameChange[] {
    // Sometimes nearly all, sometimes nearly none, mostly any mixture.
    const chance = [0.1, 0.5, 0.5, 0.9][random.below(4)]!;
    if (this.order === "ordered") {
      const steps = [...new Set(this.#pending.map(({ step }) => step))];
      const count = Math.floor((chance + random.next() - 0.5) * (steps.length + 1));
      const first = steps[Math.max(0, count)] ?? Number.POSITIVE_INFINITY;
      return this.#pending.filter(({ step }) => step < first);
    }
    const drawn = this.#pending.filter(() => random.next() < chance);
    const adds = new Set(drawn.filter(({ kind }) => kind === "add"));
    return drawn.filter(({ kind, pair }) => kind === "add" || !pair || pair.done || adds.has(pair));
  }

  #change(kind: NameChange["kind"], directory: Inode, name: string, inode: Inode): NameChange {
    return { kind, directory, name, inode, step: this.#steps, done: false, lost: false };
  }

  #note(change: NameChange): void {
    const { kind, directory, name, inode } = change;
    if (kind === "add") directory.names.set(name, inode);
    else if (directory.names.get(name) === inode) directory.names.delete(name);
    directory.changes.push(change);
    this.#pending.push(change);
  }
}
