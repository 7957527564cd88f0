/** The result of one check of `doctor`: its name, its state, the observation, and advice. */

export interface Check {
  readonly name: string;
  /** `bad`: the server cannot start or cannot keep its promises; only `bad` makes doctor fail. */
  readonly state: "good" | "warning" | "bad";
  /** The observation, such as `412 MiB free`. */
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
