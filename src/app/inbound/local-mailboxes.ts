/**
 * Finds the mailbox of an address of this server: `<mail root>/<domain>/<local part>/`.
 *
 * Addresses of other domains get 550 here; submission.ts asks first whether the client may send to
 * other domains. A failed lookup is a fault of this machine, so the sender gets 451 and retries.
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
  /** Tells whether the address has a domain of this server. */
  readonly isOurs: (recipient: Address) => boolean;
  /** The reply that refuses a recipient at RCPT; `undefined` when the recipient is accepted. */
  readonly checkRecipient: (recipient: Address) => Promise<Reply | undefined>;
  /** The Maildir of a recipient, or the reply that refuses it. Reads no disk. */
  readonly mailboxOf: (recipient: Address) => string | Reply;
}

export interface LocalMailboxesOptions {
  readonly mailRoot: string;
  /** The domains of this server, as A-labels; `localhost` only if it is in the list. */
  readonly domains: readonly string[];
  /** Whether mail for a local address without a mailbox creates the mailbox, or gets 550. */
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

/**
 * The policy for local addresses without a mailbox. By default it is `create` while only this
 * machine can reach SMTP and LMTP, else `existing`.
 */
export function policyOf({ mailboxes, smtp, lmtp }: Settings): "create" | "existing" {
  if (mailboxes !== undefined) return mailboxes;
  const isPrivate = [smtp, lmtp].every((address) => address === false || isLoopback(address));
  return isPrivate ? "create" : "existing";
}
