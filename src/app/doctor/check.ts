/** A finding of `doctor`: its name, its state, the observation, and advice. */

export interface Check {
  readonly name: string;
  readonly state: "good" | "warning" | "bad";
  readonly found: string;
  /** Advice; absent when nothing needs to be done. */
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
