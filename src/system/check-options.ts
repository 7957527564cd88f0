/**
 * Checks options at the door, with one wording:
 * `maxItems must be a whole number from 1 up; got -5.`
 *
 * A value out of range is refused and never clamped, because a silently changed limit is found
 * only on the day it matters. The error has the class and the code of the room.
 */
import { inspect } from "node:util";

/** The longest delay of a timer of Node, in milliseconds; a longer one would fire at once. */
export const maxTimerMs = 2 ** 31 - 1;

export interface OptionChecks<RoomError extends Error> {
  /** Throws unless `value` is a safe integer from `min` (1) to `max` (any). */
  wholeNumber(name: string, value: unknown, min?: number, max?: number): void;
  /** Throws unless `value` is one of `allowed`; the text does not list `undefined`. */
  oneOf(name: string, value: unknown, allowed: readonly unknown[]): void;
  /** Makes the error: `<name> must be <expected>; got <received>.` */
  refusal(name: string, expected: string, received: unknown): RoomError;
}

/** Makes the checks of a room with its error. */
export function optionChecks<RoomError extends Error>(
  errorOf: (text: string) => RoomError,
): OptionChecks<RoomError> {
  const refusal = (name: string, expected: string, received: unknown) =>
    errorOf(`${name} must be ${expected}; got ${shown(received)}.`);
  return {
    refusal,
    wholeNumber: (name, value, min = 1, max = Number.MAX_SAFE_INTEGER) => {
      if (Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max) return;
      const range = max < Number.MAX_SAFE_INTEGER ? `from ${min} to ${max}` : `from ${min} up`;
      throw refusal(name, `a whole number ${range}`, value);
    },
    oneOf: (name, value, allowed) => {
      if (allowed.includes(value)) return;
      const words = allowed.filter((each) => each !== undefined).map(shown);
      throw refusal(name, words.join(" or "), value);
    },
  };
}

/** A value on one line: texts in quotes, other values as `util.inspect` shows them. */
function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value);
  return inspect(value, { breakLength: Number.POSITIVE_INFINITY, depth: 1, maxStringLength: 100 });
}
