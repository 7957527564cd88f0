/**
 * The smuggling corpus: false ends of a message.
 *
 * Only CRLF.CRLF ends a message (RFC 5321 §4.1.1.4). Two hosts that disagree about the end see
 * different messages in the same bytes: text of a message for the sending host is a command for the
 * receiving host. Each case is a false end followed by commands, which must never run.
 */
export interface SmugglingCase {
  /** The false end in readable form. */
  readonly name: string;
  /** The bytes of the false end, a character for each byte. */
  readonly ending: string;
}

const before = ["\n", "\r", "\r\n", "\n\r", "\r\r\n", "\n\n", "\r\r", "\0\r\n", "\r\n\0", " ", ""];
const after = ["\n", "\r", "\r\n", "\n\r", "\r\r\n", "\n\n", "\r\r", "\0\r\n", " \r\n", "", "\x85"];

/** Every false end of the corpus; the true end is not among them. */
export const smugglingCorpus: readonly SmugglingCase[] = before
  .flatMap((left) => after.map((right) => `${left}.${right}`))
  .filter((ending) => !ending.includes("\r\n.\r\n"))
  .map((ending) => ({ name: readable(ending), ending }));

/** The reverse-path of a smuggled transaction that a host has run. */
export const forgedSender = "forged@client.example";

/**
 * The bytes after `354`: an innocent beginning, the false end, a whole smuggled transaction, and
 * the true end. A correct host sees one message.
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

function readable(bytes: string): string {
  return JSON.stringify(bytes).replaceAll("\\u0000", "\\0");
}
