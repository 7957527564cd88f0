/** Temporary folders and closing actions of a test; at its end every folder is removed. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A test, or for a file of tests `{ after }` with the function of `node:test`. */
export interface Ending {
  after(action: () => unknown): void;
}

const endings = new WeakMap<Ending, (() => unknown)[]>();

/**
 * Runs `action` after the test, the action registered last first: a thing ends before those on
 * which it depends.
 */
export function atEnd(t: Ending, action: () => unknown): void {
  const known = endings.get(t);
  if (known) return void known.push(action);
  const actions = [action];
  endings.set(t, actions);
  t.after(async () => {
    for (let next = actions.pop(); next !== undefined; next = actions.pop()) await next();
  });
}

/** Creates a folder that is removed after the test. */
export function temporaryDirectory(t: Ending, name = "test"): string {
  const path = mkdtempSync(join(tmpdir(), `postbag-${name}-`));
  atEnd(t, () => rmSync(path, { recursive: true, force: true }));
  return path;
}
