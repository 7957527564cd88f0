/** Folders of a test, and what it does at its end: nothing stays in the machine's temporary folder. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A test, or a file of tests: `{ after }` with the function of `node:test`. */
export interface Ending {
  after(action: () => unknown): void;
}

const endings = new WeakMap<Ending, (() => unknown)[]>();

/** Runs `action` after the test, the last one registered first: what depends on another ends before it. */
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
