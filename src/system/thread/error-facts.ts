/**
 * Errors between threads, as plain facts: structured cloning drops an error's own fields, such as
 * `code` and `errno`, and its class.
 */
import { maxCauses } from "../errors.ts";

export type ErrorFacts = Readonly<Record<string, unknown>>;

/** The fields of failed system calls and of failed SQLite statements. */
const fields = ["code", "errno", "syscall", "path", "dest", "errcode", "errstr"] as const;

/**
 * Takes the message, the known fields and the causes of an error; of another value its text. The
 * result can always be cloned.
 */
export function factsOf(error: unknown): ErrorFacts {
  return factsUpTo(maxCauses, error);
}

function factsUpTo(causes: number, error: unknown): ErrorFacts {
  if (!(error instanceof Error)) return { message: String(error) };
  const facts: Record<string, unknown> = { message: error.message };
  if (error.name !== "Error") facts.name = error.name;
  for (const field of fields) {
    const value = (error as Error & Record<string, unknown>)[field];
    if (typeof value === "string" || typeof value === "number") facts[field] = value;
  }
  const { cause } = error;
  if (cause !== undefined && causes > 0) facts.cause = factsUpTo(causes - 1, cause);
  return facts;
}

/** Makes an error of the facts; its class is `Error`. */
export function errorOf({ message, cause, ...rest }: ErrorFacts): Error {
  const options = cause === undefined ? undefined : { cause: errorOf(cause as ErrorFacts) };
  return Object.assign(new Error(String(message), options), rest);
}
