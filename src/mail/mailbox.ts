/**
 * Maps an address to the relative path of its mailbox, `<domain>/<local part>`.
 *
 * Invariant: whatever the address holds, the path has exactly two components, neither is `.`,
 * `..` or starts with a dot, neither holds a `/` or NUL, and two addresses share a path only when
 * they are the same after normalisation. So a path can be put below a mail root without further
 * checks of its text; symbolic links below the root are the business of whoever opens it.
 *
 * Octets of `[a-z0-9._+=-]` stay (a leading dot does not), every other octet becomes `%HH`.
 */
import { type AddressParts, addressParts } from "./address.ts";
import type { Address, Reply } from "./contract.ts";
import { reply } from "./reply.ts";

/** Octets a component may have: a file name has at most 255 on Linux, and readers add to it. */
const maxComponentOctets = 200;

export type MailboxLookup =
  | ({ readonly kind: "mailbox" /** Relative, with `/`. */; readonly path: string } & AddressParts)
  | { readonly kind: "refused"; readonly reply: Reply };

/**
 * Finds the mailbox of an address. Refuses with `550 5.1.3` what is no address, an empty local
 * part, a NUL, and names whose component would be longer than 200 octets.
 */
export function addressToMailbox(address: Address): MailboxLookup {
  const parts = addressParts(address);
  if (!parts || parts.localPart.includes("\0")) return badMailbox;
  const domain = component(parts.domain);
  const localPart = component(parts.localPart);
  if (domain.length > maxComponentOctets || localPart.length > maxComponentOctets)
    return badMailbox;
  return { kind: "mailbox", path: `${domain}/${localPart}`, ...parts };
}

const badMailbox: MailboxLookup = {
  kind: "refused",
  reply: reply(550, "5.1.3", "Mailbox name not allowed", "rcpt"),
};

const plain = /^[a-z0-9_+=-][a-z0-9._+=-]*$/;

function component(text: string): string {
  if (plain.test(text)) return text;
  let encoded = "";
  for (const octet of Buffer.from(text)) {
    const character = String.fromCharCode(octet);
    const stays = /[a-z0-9_+=-]/.test(character) || (character === "." && encoded !== "");
    encoded += stays ? character : `%${octet.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
