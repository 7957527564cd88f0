/** Errors on their way between threads: as plain facts, because cloning drops an error's own fields. */
export type Facts = Readonly<Record<string, unknown>>;

/** The fields by which a failed system call is told apart; nothing of what is no error. */
export function factsOf(cause: unknown): Facts | undefined {
  if (!(cause instanceof Error)) return undefined;
  const { code, errno, syscall, path, dest } = cause as NodeJS.ErrnoException & { dest?: string };
  const facts = { message: cause.message, code, errno, syscall, path, dest };
  return Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== undefined));
}

/** Makes an error again of what {@link factsOf} kept. */
export function errorOf(facts: Facts): Error {
  return Object.assign(new Error(String(facts.message)), facts);
}
