/**
 * `postbag send`: puts one message from standard input into the outbox. Called by `cli/send.ts`.
 *
 * The worker of a running server finds the message within a second and sends it. Without a server
 * the message waits in the outbox.
 */
import { type Address, parsePath } from "../../mail/index.ts";
import type { Mail } from "../../outbox/index.ts";
import { prepareDataDirectory } from "../data-directory.ts";
import { AppError, messageOf } from "../errors.ts";
import { explained, openOutbox, storeAddressOf } from "../outbound/open-outbox.ts";
import type { Settings } from "../settings/table.ts";

export interface SendOptions {
  readonly settings: Settings;
  readonly input: AsyncIterable<Uint8Array>;
  /** The sender. It may be missing only with `isRaw`: then the message names it. */
  readonly from: string | undefined;
  /** The recipients; empty only with `isRaw` and without `from`: then the message names them. */
  readonly to: readonly string[];
  /** The subject; refused with `isRaw`. @defaultValue an empty subject */
  readonly subject: string | undefined;
  /** Whether the input is a whole message with its header; else it is the text of the message. */
  readonly isRaw: boolean;
  /** A repeat with the same key stores nothing; without a key every call stores a message. */
  readonly idempotencyKey: string | undefined;
}

export interface Sent {
  readonly id: string;
  /** Whether the key was used before: then nothing was stored, and `id` is the earlier message. */
  readonly duplicate: boolean;
}

/**
 * Reads the message and enqueues it; the message is durable in the outbox on return.
 *
 * @throws {AppError} `ERR_APP_USAGE`, `ERR_APP_ADDRESS`, `ERR_APP_MESSAGE`, `ERR_APP_CONFLICT`;
 *   `ERR_APP_OUTBOX_NOT_NOW` for a fault that may pass: then the caller should send it again.
 */
export async function sendMessage(options: SendOptions): Promise<Sent> {
  const { settings, idempotencyKey } = options;
  const mail = mailOf(options, await readAll(options.input, settings.maxMessageBytes));
  if (storeAddressOf(settings).kind === "sqlite" && settings.store === undefined) {
    prepareFolder(settings);
  }
  await using outbox = await openOutbox(settings);
  try {
    const key = idempotencyKey === undefined ? {} : { idempotencyKey };
    const { id, duplicate } = await outbox.enqueue({ ...mail, ...key });
    return { id, duplicate };
  } catch (error) {
    throw explained(error);
  }
}

function mailOf({ from, to, subject, isRaw }: SendOptions, input: Buffer): Mail {
  const recipients = to.map((address) => addressOf("--to", address));
  const sender = from === undefined ? undefined : addressOf("--from", from);
  if (isRaw) return rawMail(input, sender, recipients, subject);
  if (sender === undefined) throw usage("The sender is missing: --from ADDRESS");
  if (recipients.length === 0)
    throw usage("The recipients are missing: --to ADDRESS, once for each");
  const text = input.toString("utf8");
  return { from: sender, to: recipients, subject: subject ?? "", text };
}

function rawMail(
  raw: Buffer,
  from: Address | undefined,
  to: readonly Address[],
  subject: string | undefined,
): Mail {
  if (subject !== undefined)
    throw usage("With --raw the message has its own subject; leave --subject out");
  if (raw.length === 0) {
    throw new AppError("ERR_APP_MESSAGE", "There is no message on standard input");
  }
  if (from === undefined && to.length === 0) return { raw };
  if (from === undefined || to.length === 0) {
    throw usage("With --raw give both --from and --to, or neither: then the message names them");
  }
  return { raw, envelope: { from, to } };
}

function addressOf(flag: string, text: string): Address {
  const path = parsePath(text.startsWith("<") ? text : `<${text}>`);
  if (path && path.rest === "" && (path.address !== "" || flag === "--from")) return path.address;
  throw new AppError(
    "ERR_APP_ADDRESS",
    `${flag} must be an address such as you@example.org; got ${JSON.stringify(text)}`,
  );
}

async function readAll(input: AsyncIterable<Uint8Array>, maxBytes: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let size = 0;
  for await (const piece of input) {
    pieces.push(piece);
    size += piece.length;
    if (size <= maxBytes) continue;
    throw new AppError(
      "ERR_APP_MESSAGE",
      `The message is larger than maxMessageBytes (${maxBytes})`,
    );
  }
  return Buffer.concat(pieces);
}

/**
 * Creates the data folder. Every failure is reported as temporary, because the caller still has the
 * message and can send it again.
 */
function prepareFolder({ data }: Settings): void {
  try {
    prepareDataDirectory(data);
  } catch (cause) {
    throw new AppError("ERR_APP_OUTBOX_NOT_NOW", messageOf(cause), { cause });
  }
}

function usage(text: string): AppError {
  return new AppError("ERR_APP_USAGE", text);
}
