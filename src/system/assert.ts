/**
 * Assertions about our own code, on in production too: a program that violates its own invariants
 * must stop before it acknowledges mail. Errors that input, the disk or a peer can cause are no
 * matter of assertions: they have a class of their room.
 */

/**
 * Throws where `condition` is false; narrows the types where it is true.
 *
 * @throws a plain `Error`, because no caller can handle it: the program is wrong.
 */
export function invariant(condition: unknown, text: string): asserts condition {
  if (!condition) throw new Error(`invariant does not hold: ${text}`);
}
