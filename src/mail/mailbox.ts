/**
 * Maps an address to the relative path of its mailbox, `<domain>/<local part>`.
 *
 * Invariant: for any address, the path has exactly two components; neither is `.` or `..` or
 * starts with a dot; neither contains a `/` or NUL; two addresses share a path only if they are
 * the same after normalisation. So the text of a path needs no further check below a mail root;
 * the code that opens it guards against symbolic links.
 *
 * Bytes of `[a-z0-9._+=-]` stay (a leading dot does not), every other byte becomes `%HH`.
 */
import { type AddressParts, addressParts } from "./address.ts";
import type { Address, Reply } from "./contract.ts";
import { reply } from "./reply.ts";

/** Maximum of a component: a file name has at most 255 bytes on Linux, and readers add to it. */
const maxComponentBytes = 200;

export type MailboxLookup =
  | ({ readonly kind: "mailbox" /** Relative, with `/`. */; readonly path: string } & AddressParts)
  | { readonly kind: "refused"; readonly reply: Reply };

/**
 * Returns the mailbox of an address. Refuses with `550 5.1.3`: a text that is not an address, an
 * empty local part, a NUL, and a component of more than 200 bytes.
 */
export function addressToMailbox(address: Address): MailboxLookup {
  const parts = addressParts(address);
  if (!parts || parts.localPart.includes("\0")) return badMailbox;
  const domain = component(parts.domain);
  const localPart = component(parts.localPart);
  if (domain.length > maxComponentBytes || localPart.length > maxComponentBytes) return badMailbox;
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
  for (const byte of Buffer.from(text)) {
    const character = String.fromCharCode(byte);
    const stays = /[a-z0-9_+=-]/.test(character) || (character === "." && encoded !== "");
    encoded += stays ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
