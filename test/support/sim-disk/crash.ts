/**
 * The disk after a power cut: one of all states that the unflushed changes allow, by seed.
 *
 * Each file system decides which names survive (mount.ts), but a rename survives as old name, new
 * name or both, never as neither. Bytes survive as any subset of sectors. There is no order
 * between bytes and names.
 */
import type { SeededRandom } from "../seeded-random.ts";
import { Inode, type NameChange, tornBytes } from "./inode.ts";
import { Mount } from "./mount.ts";

/** Builds the disk after the cut; the given one is not changed. */
export function rootAfterCut(root: Inode, random: SeededRandom): Inode {
  const survives = survivors(root, random);
  const rebuilt = new Map<Inode, Inode>();
  const mounts = new Map<Mount, Mount>();

  function rebuild(inode: Inode): Inode {
    const known = rebuilt.get(inode);
    if (known) return known;
    const mount = mounts.get(inode.mount) ?? new Mount(inode.mount.device, inode.mount.order);
    mounts.set(inode.mount, mount);
    const after = new Inode(inode.number, inode.kind, inode.mode, mount);
    after.tree = inode.tree;
    rebuilt.set(inode, after);
    if (inode.kind === "file") {
      const torn = inode.forsaken
        ? inode.durableBytes
        : tornBytes(inode.durableBytes, inode.bytes, random);
      after.bytes = torn;
      after.durableBytes = torn;
      after.modifiedMs = random.below(2) ? inode.modifiedMs : inode.durableModifiedMs;
      after.durableModifiedMs = after.modifiedMs;
      after.changedMs = inode.changedMs;
      return after;
    }
    for (const [name, child] of namesAfterCut(inode, survives)) {
      const childAfter = rebuild(child);
      after.names.set(name, childAfter);
      after.durableNames.set(name, childAfter);
    }
    return after;
  }
  return rebuild(root);
}

/** Draws the unflushed changes of names that have reached the disk. */
function survivors(root: Inode, random: SeededRandom): ReadonlySet<NameChange> {
  const mounts = new Set([...directories(root)].map(({ mount }) => mount));
  return new Set([...mounts].flatMap((mount) => mount.survivors(random)));
}

function namesAfterCut(directory: Inode, survives: ReadonlySet<NameChange>): Map<string, Inode> {
  const names = new Map(directory.durableNames);
  for (const change of directory.changes) {
    if (!survives.has(change)) continue;
    if (change.kind === "add") names.set(change.name, change.inode);
    else if (names.get(change.name) === change.inode) names.delete(change.name);
  }
  return names;
}

/** Every directory that programs see or the disk has. */
function* directories(from: Inode, seen = new Set<Inode>()): Generator<Inode> {
  if (from.kind !== "directory" || seen.has(from)) return;
  seen.add(from);
  yield from;
  for (const child of [...from.names.values(), ...from.durableNames.values()]) {
    yield* directories(child, seen);
  }
}
