/**
 * Composes a mail into envelope and bytes, once, when `outbox.ts` enqueues it: every attempt sends
 * these bytes, with one Message-ID, one Date and one set of boundaries, so that a receiver can
 * recognise a repeat.
 *
 * Bcc recipients are in the envelope and nowhere in the bytes. Files and URLs are not read unless
 * the mail allows it: text from an application's users must not reach the disk of the server.
 *
 * @see RFC 5322 §3.6.3 (Bcc), §3.6.4 (Message-ID).
 */
import type { SendMailOptions } from "nodemailer";
import parseAddresses from "nodemailer/lib/addressparser";
import MailComposer from "nodemailer/lib/mail-composer";
import { type Address, addressParts, dateTime, withCrlf } from "../../mail/index.ts";
import { OutboxError } from "../model/errors.ts";
import type { RecipientKind } from "../model/rows.ts";
import { editHeader, type HeaderField, headerFields } from "./message-bytes.ts";

/**
 * Fields of a mail, as nodemailer names them: `from`, `to`, `subject`, `text`, `html`,
 * `attachments`…
 */
export type MailFields = Omit<SendMailOptions, "raw" | "dkim" | "envelope">;

/** A ready-made message. A missing Message-ID or Date is added on top of its header. */
export interface RawMail {
  /** The message. Its line endings become CRLF, and its `Bcc` fields are removed. */
  readonly raw: Uint8Array | string;
}

/** An explicit envelope, in place of the addresses in the header. */
export interface MailEnvelope {
  /** Reverse-path; `""` for the null path. */
  readonly from: Address;
  readonly to: Address | readonly Address[];
}

export type MailContent = (MailFields | RawMail) & { readonly envelope?: MailEnvelope | undefined };

export interface ComposedMail {
  readonly reversePath: Address;
  /** Each address once, with the first field that has it. */
  readonly recipients: readonly { readonly address: Address; readonly kind: RecipientKind }[];
  readonly bytes: Uint8Array;
  /** The Message-ID in `bytes`, with angle brackets. */
  readonly messageIdHeader: string;
  readonly subject?: string | undefined;
}

/**
 * Composes a mail.
 *
 * @param identity - The left part of a new Message-ID, and the Date of a mail without one.
 * @throws {OutboxError} ERR_OUTBOX_MAIL for a mail without sender or recipient, with an invalid
 *   address, or with unreadable content.
 */
export async function compose(
  content: MailContent,
  identity: { readonly id: string; readonly date: Date },
): Promise<ComposedMail> {
  return isRaw(content) ? composeRaw(content, identity) : composeFields(content, identity);
}

function isRaw(content: MailContent): content is RawMail & { envelope?: MailEnvelope | undefined } {
  return "raw" in content && content.raw !== undefined;
}

async function composeFields(
  { envelope, ...fields }: MailFields & { envelope?: MailEnvelope | undefined },
  { id, date }: { id: string; date: Date },
): Promise<ComposedMail> {
  const node = new MailComposer({
    disableFileAccess: true,
    disableUrlAccess: true,
    ...fields,
    date: fields.date ?? date,
  }).compile();
  const { from, to, cc, bcc } = node.getAddresses() as ParsedAddresses;
  const parties = partiesOf(envelope, { from, to, cc, bcc });
  const messageIdHeader = bracketed(fields.messageId) ?? messageIdOf(id, parties.reversePath, from);
  node.setHeader("Message-ID", messageIdHeader);
  let bytes: Uint8Array;
  try {
    bytes = withCrlf(await node.build());
  } catch (cause) {
    throw new OutboxError("ERR_OUTBOX_MAIL", "The mail could not be composed.", { cause });
  }
  const { subject } = fields;
  return { ...parties, bytes, messageIdHeader, subject };
}

function composeRaw(
  { raw, envelope }: RawMail & { envelope?: MailEnvelope | undefined },
  { id, date }: { id: string; date: Date },
): ComposedMail {
  const given = withCrlf(typeof raw === "string" ? Buffer.from(raw) : raw);
  const fields = headerFields(given);
  const fieldOf = (name: string) => fields.find((field) => field.name === name)?.value;
  const addresses = addressesIn(fields);
  const parties = partiesOf(envelope, addresses);
  const found = bracketed(fieldOf("message-id"));
  const messageIdHeader = found ?? messageIdOf(id, parties.reversePath, addresses.from);
  const add = [
    ...(found === undefined ? [`Message-ID: ${messageIdHeader}`] : []),
    ...(fieldOf("date") === undefined ? [`Date: ${dateTime(date.getTime())}`] : []),
  ];
  // Text without a header needs an empty line after the new fields, or its first lines join them.
  if (fields.length === 0 && !startsBody(given)) add.push("");
  const without = fields.filter(({ name }) => name === "bcc");
  const bytes = editHeader(given, { without, add });
  const subject = utf8Of(fieldOf("subject"));
  return { ...parties, bytes, messageIdHeader, subject };
}

function startsBody(bytes: Uint8Array): boolean {
  return bytes[0] === 13 && bytes[1] === 10;
}

interface ParsedAddress {
  readonly address?: string | undefined;
  readonly group?: readonly ParsedAddress[] | undefined;
}

type AddressField = "from" | RecipientKind;

type ParsedAddresses = Readonly<
  Partial<Record<AddressField, readonly ParsedAddress[] | undefined>>
>;

function addressesIn(fields: readonly HeaderField[]): ParsedAddresses {
  const found = { from: [], to: [], cc: [], bcc: [] } as Record<AddressField, ParsedAddress[]>;
  for (const { name, value } of fields) {
    if (Object.hasOwn(found, name)) found[name as AddressField].push(...readAddresses(value));
  }
  return found;
}

/** One address of plain characters, alone or after a name of plain words. */
const onePlainAddress = /^(?:([\w.+-]+@[\w.-]+)|[\w ]+<([\w.+-]+@[\w.-]+)>)$/;

/**
 * Reads the addresses of a field whose bytes stand as characters. Most fields have one plain
 * address, which `onePlainAddress` reads in a tenth of the time of nodemailer's full parser.
 */
export function readAddresses(value: string): readonly ParsedAddress[] {
  const plain = onePlainAddress.exec(value);
  return plain ? [{ address: plain[1] ?? plain[2] }] : parseAddresses(utf8Of(value));
}

/** Decodes UTF-8 whose bytes stand as characters. */
function utf8Of<Text extends string | undefined>(bytes: Text): Text {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: ASCII is a range of code points.
  if (bytes === undefined || /^[\x00-\x7f]*$/.test(bytes)) return bytes;
  return Buffer.from(bytes, "latin1").toString() as Text;
}

function partiesOf(
  envelope: MailEnvelope | undefined,
  header: ParsedAddresses,
): Pick<ComposedMail, "reversePath" | "recipients"> {
  const recipients = new Map<Address, RecipientKind>();
  for (const kind of ["to", "cc", "bcc"] as const) {
    for (const address of flat(header[kind])) {
      if (!recipients.has(address)) recipients.set(address, kind);
    }
  }
  const sender = flat(header.from)[0];
  const reversePath = envelope ? envelope.from : sender;
  if (reversePath === undefined) throw badMail("it has no sender: give `from`");
  const addresses = envelope
    ? new Set([envelope.to].flat().map(checkedAddress))
    : [...recipients.keys()];
  const named = [...addresses].map((address) => ({
    address,
    // A recipient that only the envelope has is hidden from the others, like a Bcc.
    kind: recipients.get(address) ?? "bcc",
  }));
  if (named.length === 0) throw badMail("it has no recipient: give `to`, `cc` or `bcc`");
  return {
    reversePath:
      reversePath === sender || reversePath === "" ? reversePath : checkedAddress(reversePath),
    recipients: named,
  };
}

function flat(addresses: readonly ParsedAddress[] = []): Address[] {
  return addresses.flatMap(({ address, group }) => {
    if (group) return flat(group);
    return address ? [checkedAddress(address)] : [];
  });
}

/** Normalises the domain of an address as for a lookup; the local part stays as it is. */
function checkedAddress(address: unknown): Address {
  const text = typeof address === "string" ? address.trim() : "";
  const parts = addressParts(text);
  const at = text.lastIndexOf("@");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none may reach an SMTP command.
  const plain = at > 0 && !/[\x00-\x20\x7f<>]/.test(text);
  if (plain && parts) {
    const isNormal = text.slice(at + 1) === parts.domain;
    return isNormal ? text : `${text.slice(0, at)}@${parts.domain}`;
  }
  throw badMail(`${JSON.stringify(address)} is not an address`);
}

function bracketed(id: string | undefined): string | undefined {
  const plain = id?.replace(/^[\s<]+|[\s>]+$/g, "");
  return plain ? `<${plain}>` : undefined;
}

function messageIdOf(
  id: string,
  reversePath: Address,
  from: readonly ParsedAddress[] | undefined,
): string {
  const sender = flat(from)[0] ?? reversePath;
  return `<${id}@${sender.slice(sender.lastIndexOf("@") + 1) || "localhost"}>`;
}

function badMail(text: string): OutboxError {
  return new OutboxError("ERR_OUTBOX_MAIL", `The mail cannot be sent: ${text}.`);
}
