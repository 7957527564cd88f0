/**
 * What a power cut may leave: every legal disk that the unflushed changes allow, one per seed.
 *
 * Names survive or not, independently of each other, but a rename survives as old name, new name or
 * both, never as neither. Bytes survive as any subset of sectors. No order is kept between them.
 */
import type { SeededRandom } from "../seeded-random.ts";
import { Inode, type NameChange, tornBytes } from "./inode.ts";

/** Builds the disk a machine finds after the cut; the one it is taken from is not changed. */
export function rootAfterCut(root: Inode, random: SeededRandom): Inode {
  const survives = survivors(root, random);
  const rebuilt = new Map<Inode, Inode>();

  function rebuild(inode: Inode): Inode {
    const known = rebuilt.get(inode);
    if (known) return known;
    const after = new Inode(inode.number, inode.kind, inode.mode);
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

/** Draws which unflushed changes of names have reached the disk. */
function survivors(root: Inode, random: SeededRandom): ReadonlySet<NameChange> {
  // Sometimes nearly all, sometimes nearly none, mostly any mixture.
  const chance = [0.1, 0.5, 0.5, 0.9][random.below(4)]!;
  const pending = [...directories(root)].flatMap(({ changes }) => changes);
  const drawn = pending.filter(({ done, lost }) => !done && !lost && random.next() < chance);
  const adds = new Set(drawn.filter(({ kind }) => kind === "add"));
  const removals = drawn.filter(
    ({ kind, pair }) => kind === "remove" && (!pair || pair.done || adds.has(pair)),
  );
  return new Set([...adds, ...removals]);
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

/** Every directory programs or the disk know of. */
function* directories(from: Inode, seen = new Set<Inode>()): Generator<Inode> {
  if (from.kind !== "directory" || seen.has(from)) return;
  seen.add(from);
  yield from;
  for (const child of [...from.names.values(), ...from.durableNames.values()]) {
    yield* directories(child, seen);
  }
}
