/**
 * Flags of a message: the letters behind `:2,` in its name, in ASCII order.
 *
 * Flags of other programs stay: letters that we do not know (a–z are keywords of Dovecot's), and
 * everything behind a further comma.
 *
 * Source: cr.yp.to/proto/maildir.html; P passed, R replied, S seen, T trashed, D draft, F flagged.
 */

export interface Flags {
  /** Single letters, in ASCII order, each once. */
  readonly letters: readonly string[];
  /** The text behind a further comma, with that comma; mostly empty. */
  readonly tail: string;
}

/** Reads the text behind `:2,`. */
export function parseFlags(text: string): Flags {
  const comma = text.indexOf(",");
  const letters = comma < 0 ? text : text.slice(0, comma);
  return { letters: ordered(letters), tail: comma < 0 ? "" : text.slice(comma) };
}

/** Writes flags as they stand behind `:2,`. */
export function serializeFlags(flags: Flags): string {
  return flags.letters.join("") + flags.tail;
}

/** Returns the flag text with the given letters set as well. */
export function addFlags(text: string, letters: string): string {
  const flags = parseFlags(text);
  return serializeFlags({ ...flags, letters: ordered([...flags.letters, ...letters]) });
}

/** Returns the flag text without the given letters. */
export function removeFlags(text: string, letters: string): string {
  const flags = parseFlags(text);
  return serializeFlags({
    ...flags,
    letters: flags.letters.filter((letter) => !letters.includes(letter)),
  });
}

/**
 * Whether a text can stand behind `:2,`: letters, then perhaps a comma and more, but no `/`, `:`
 * or NUL.
 */
export function areFlags(text: string): boolean {
  return /^[A-Za-z]*(,[^/:\0]*)?$/.test(text);
}

function ordered(letters: Iterable<string>): string[] {
  return [...new Set(letters)].sort();
}
