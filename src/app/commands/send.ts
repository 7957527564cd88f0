/**
 * `postbag send`: puts one message from standard input into the outbox. It works beside a running
 * server, whose worker finds the message within a second; without a server the message waits.
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
  /** The sender. @defaultValue with `isRaw`, the one in the message */
  readonly from: string | undefined;
  readonly to: readonly string[];
  readonly subject: string | undefined;
  /** Whether the input is a whole message with its header, not only a text. */
  readonly isRaw: boolean;
  readonly idempotencyKey: string | undefined;
}

export interface Sent {
  readonly id: string;
  /** Whether the idempotency key was known: then `id` is the earlier message. */
  readonly duplicate: boolean;
}

/**
 * Reads the message and enqueues it; durable on return.
 *
 * @throws {AppError} `ERR_APP_USAGE`, `ERR_APP_ADDRESS`, `ERR_APP_MESSAGE`, `ERR_APP_CONFLICT`, and
 *   `ERR_APP_OUTBOX_NOT_NOW` for every fault of this machine: then the caller should send it again.
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
 * Creates the data folder; every error of that is temporary, because the caller has the message.
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
