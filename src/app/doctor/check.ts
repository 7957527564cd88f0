/** A finding of `doctor`: its name, its state, what was found, and what to do about it. */

export interface Check {
  readonly name: string;
  readonly state: "good" | "warning" | "bad";
  readonly found: string;
  /** What to do; absent when there is nothing to do. */
  readonly advice?: string | undefined;
}

export function good(name: string, found: string): Check {
  return { name, state: "good", found };
}

export function warning(name: string, found: string, advice: string): Check {
  return { name, state: "warning", found, advice };
}

export function bad(name: string, found: string, advice: string): Check {
  return { name, state: "bad", found, advice };
}
