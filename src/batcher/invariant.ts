/** Assertion of what must be true by construction. This room imports no other, so it has its own. */

/** @throws Error - `text` is false: a fault of the batcher itself. */
export function invariant(condition: unknown, text: string): asserts condition {
  if (!condition) throw new Error(`batcher invariant broken: ${text}`);
}
