/** The work of `postbag mailbox`: creates, lists and reads the mailboxes of this machine. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import PostalMime, { type Address as PostalAddress } from "postal-mime";
import { type Address, addressToMailbox } from "../../mail/index.ts";
import { Maildir } from "../../maildir/index.ts";
import { dataDirectoryAt, prepareDataDirectory } from "../data-directory.ts";
import { AppError, isAbsent, messageOf } from "../errors.ts";
import type { Settings } from "../settings/table.ts";

export interface MailboxSummary {
  readonly address: Address;
  readonly path: string;
  /** Messages in `new/`, and messages in `cur/`. */
  readonly unseen: number;
  readonly seen: number;
}

/** Lists the mailboxes below the mail root, sorted by domain and local part. */
export function listMailboxes(settings: Settings): readonly MailboxSummary[] {
  const mailRoot = dataDirectoryAt(settings.data).mail;
  return namesIn(mailRoot).flatMap((domain) =>
    namesIn(join(mailRoot, domain)).flatMap((localPart) => {
      const path = join(mailRoot, domain, localPart);
      if (!isFolder(join(path, "new"))) return [];
      const address = `${decoded(localPart)}@${decoded(domain)}`;
      const [unseen, seen] = ["new", "cur"].map((folder) => namesIn(join(path, folder)).length);
      return [{ address, path, unseen: unseen ?? 0, seen: seen ?? 0 }];
    }),
  );
}

/** The names in a folder, sorted, without those that begin with a dot; empty without the folder. */
function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => !name.startsWith("."))
      .sort();
  } catch (error) {
    if (isAbsent(error)) return [];
    throw error;
  }
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;
}

/** Decodes `%HH` in the name of a mailbox folder. */
function decoded(component: string): string {
  const bytes = component.replace(/%([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return Buffer.from(bytes, "latin1").toString("utf8");
}

/** Creates a mailbox and returns its path; durable on return. An existing mailbox is unchanged. */
export async function createMailbox(address: Address, settings: Settings): Promise<string> {
  const path = pathOf(address, settings);
  const { mail } = prepareDataDirectory(settings.data);
  try {
    await Maildir.create(path, { root: mail });
    return path;
  } catch (cause) {
    const text = `Cannot create the mailbox: ${messageOf(cause)}`;
    throw new AppError("ERR_APP_DATA_DIRECTORY", text, { cause });
  }
}

/** One message for a person; every text is free of control characters. */
export interface ShownMessage {
  readonly id: string;
  readonly folder: "new" | "cur";
  readonly from: string;
  readonly to: string;
  readonly date: string;
  readonly subject: string;
  readonly text: string;
}

/**
 * Reads the messages in `cur/`, then those in `new/`, each oldest first; marks none as seen.
 *
 * @throws {AppError} `ERR_APP_NO_MAILBOX` when the address has no mailbox.
 */
export async function* readMailbox(
  address: Address,
  settings: Settings,
): AsyncGenerator<ShownMessage> {
  const path = pathOf(address, settings);
  if (!isFolder(join(path, "new"))) {
    throw new AppError(
      "ERR_APP_NO_MAILBOX",
      `There is no mailbox ${address} in ${settings.data}; \`postbag mailbox list\` shows all mailboxes`,
    );
  }
  const maildir = await Maildir.open(path);
  for (const folder of ["cur", "new"] as const) {
    for (const { id } of await maildir.scan(folder)) {
      yield { id, folder, ...(await readable(await maildir.fetch(id))) };
    }
  }
}

async function readable(content: Uint8Array): Promise<Omit<ShownMessage, "id" | "folder">> {
  const mail = await PostalMime.parse(content);
  const people = (list: readonly PostalAddress[] | undefined) =>
    (list ?? [])
      .map(({ name, address }) => (name ? `${name} <${address ?? ""}>` : (address ?? "")))
      .join(", ");
  return {
    from: oneLine(people(mail.from && [mail.from]) || (mail.returnPath ?? "")),
    to: oneLine(people(mail.to)),
    date: oneLine(mail.date ?? ""),
    subject: oneLine(mail.subject ?? ""),
    text: withoutControls(mail.text ?? plainOf(mail.html ?? "")),
  };
}

/** The text of an HTML part, roughly: enough to recognise a message. */
function plainOf(html: string): string {
  return html
    .replace(/<(style|script)\b[\s\S]*?<\/\1>/gi, "")
    .replace(/<br\b[^>]*>|<\/(p|div|tr|h\d|li)>/gi, "\n")
    .replace(/<[^>]*>/g, "");
}

/** Mail comes from strangers: none of its bytes may control the terminal that shows it. */
function withoutControls(text: string): string {
  return text.replace(/\r\n?/g, "\n").replace(/[^\P{C}\n\t]/gu, "�");
}

function oneLine(text: string): string {
  return withoutControls(text).replace(/\s+/g, " ").trim();
}

function pathOf(address: Address, settings: Settings): string {
  const found = addressToMailbox(address);
  const domains = ["localhost", ...settings.domain];
  if (found.kind === "refused") {
    throw new AppError(
      "ERR_APP_ADDRESS",
      `${JSON.stringify(address)} is no address of a mailbox; write it like you@localhost`,
    );
  }
  if (!domains.includes(found.domain)) {
    throw new AppError(
      "ERR_APP_NO_MAILBOX",
      `${found.domain} is not a domain of this server (${domains.join(", ")}); --domain adds it`,
    );
  }
  return join(dataDirectoryAt(settings.data).mail, found.path);
}
