/**
 * The smuggling corpus: ends of message that are none.
 *
 * Only CRLF.CRLF ends a message (RFC 5321 §4.1.1.4). Two hosts that disagree about it see different
 * messages in the same octets, and what one takes for text the other runs as commands in the first one's
 * name. Each case is such a false end; behind it follow commands that must never be run.
 */
export interface SmugglingCase {
  /** The false end, readable. */
  readonly name: string;
  /** The false end, as octets. */
  readonly ending: string;
}

const before = ["\n", "\r", "\r\n", "\n\r", "\r\r\n", "\n\n", "\r\r", "\0\r\n", "\r\n\0", " ", ""];
const after = ["\n", "\r", "\r\n", "\n\r", "\r\r\n", "\n\n", "\r\r", "\0\r\n", " \r\n", "", "\x85"];

/** Every false end of the corpus; the true one is not among them. */
export const smugglingCorpus: readonly SmugglingCase[] = before
  .flatMap((left) => after.map((right) => `${left}.${right}`))
  .filter((ending) => !ending.includes("\r\n.\r\n"))
  .map((ending) => ({ name: readable(ending), ending }));

/** The reverse-path that shows up when a smuggled transaction was run. */
export const forgedSender = "forged@client.example";

/**
 * What a client sends after `354`: an innocent beginning, the false end, a whole smuggled transaction,
 * and the true end. A host that is right sees one message.
 */
export function smuggledMessage({ ending }: SmugglingCase, recipient: string): string {
  const commands = [
    `MAIL FROM:<${forgedSender}>`,
    `RCPT TO:<${recipient}>`,
    "DATA",
    "Subject: smuggled",
    "",
    "forged",
    ".",
    "",
  ];
  return `Subject: innocent\r\n\r\nfirst${ending}${commands.join("\r\n")}`;
}

function readable(octets: string): string {
  return JSON.stringify(octets).replaceAll("\\u0000", "\\0");
}
