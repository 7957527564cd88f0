/**
 * Which addresses are ours, and where their mail lies: `<mail root>/<domain>/<local part>/`.
 *
 * Mail for a domain that is not ours is refused here; who may have it sent is said in submission.ts.
 * What keeps us from looking a mailbox up is our fault and temporary for the sender.
 */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import {
  type Address,
  addressParts,
  addressToMailbox,
  type Reply,
  reply,
} from "../../mail/index.ts";
import { isAbsent } from "../errors.ts";
import { isLoopback } from "../settings/kinds.ts";
import type { Settings } from "../settings/table.ts";

export interface LocalMailboxes {
  /** Tells whether the address, if it is one, is of a domain of ours. */
  readonly isOurs: (recipient: Address) => boolean;
  /** The reply that refuses a recipient, or `undefined` when its mail is taken. */
  readonly checkRecipient: (recipient: Address) => Promise<Reply | undefined>;
  /** The Maildir of a recipient, or the reply that refuses it. Looks at no disk. */
  readonly mailboxOf: (recipient: Address) => string | Reply;
}

export interface LocalMailboxesOptions {
  readonly mailRoot: string;
  /** Domains in A-label form, `localhost` among them if it is one. */
  readonly domains: readonly string[];
  /** Whether a new local address gets its mailbox with its first message, or is refused. */
  readonly policy: "create" | "existing";
}

const notOurs = reply(550, "5.7.1", "Relaying denied", "rcpt");
const unknown = reply(550, "5.1.1", "No such mailbox here", "rcpt");
const lookupFailed = reply(451, "4.3.0", "Cannot look the mailbox up now, try again later", "rcpt");

export function localMailboxes(options: LocalMailboxesOptions): LocalMailboxes {
  const { mailRoot, policy } = options;
  const domains = new Set(options.domains);

  function mailboxOf(recipient: Address): string | Reply {
    const found = addressToMailbox(recipient);
    if (found.kind === "refused") return found.reply;
    return domains.has(found.domain) ? join(mailRoot, found.path) : notOurs;
  }

  return {
    isOurs: (recipient) => domains.has(addressParts(recipient)?.domain ?? ""),
    mailboxOf,
    async checkRecipient(recipient) {
      const mailbox = mailboxOf(recipient);
      if (typeof mailbox !== "string") return mailbox;
      if (policy === "create") return undefined;
      try {
        return (await stat(join(mailbox, "new"))).isDirectory() ? undefined : unknown;
      } catch (error) {
        return isAbsent(error) ? unknown : lookupFailed;
      }
    },
  };
}

/** What holds for new local addresses: made on first mail while only this machine can reach us. */
export function policyOf({ mailboxes, smtp, lmtp }: Settings): "create" | "existing" {
  if (mailboxes !== undefined) return mailboxes;
  const isPrivate = [smtp, lmtp].every((address) => address === false || isLoopback(address));
  return isPrivate ? "create" : "existing";
}
