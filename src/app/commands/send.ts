/**
 * Puts one message from standard input into the outbox. It works beside a running server, whose worker
 * finds the message within a second; without one the message waits.
 */
import { type Address, parsePath } from "../../mail/index.ts";
import type { Mail } from "../../outbox/index.ts";
import { prepareDataDirectory } from "../data-directory.ts";
import { AppError } from "../errors.ts";
import { explained, openOutbox, storeAddressOf } from "../outbound/open-outbox.ts";
import type { Settings } from "../settings/table.ts";

export interface SendOptions {
  readonly settings: Settings;
  readonly input: AsyncIterable<Uint8Array>;
  /** With `raw`, what the message says when left out. */
  readonly from: string | undefined;
  readonly to: readonly string[];
  readonly subject: string | undefined;
  /** Whether the input is a whole message, not the text of one. */
  readonly isRaw: boolean;
  readonly idempotencyKey: string | undefined;
}

export interface Sent {
  readonly id: string;
  /** The idempotency key was known: this is the earlier message. */
  readonly duplicate: boolean;
}

/**
 * Reads the message and enqueues it; durable on return.
 *
 * @throws {AppError} `ERR_APP_USAGE`, `ERR_APP_ADDRESS`, `ERR_APP_MESSAGE`, `ERR_APP_CONFLICT`, and
 *   `ERR_APP_OUTBOX_NOT_NOW` for every fault of this machine: the message should be offered again.
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
  if (sender === undefined) throw usage("Say who sends: --from ADDRESS");
  if (recipients.length === 0) throw usage("Say who gets it: --to ADDRESS, once for each");
  const text = input.toString("utf8");
  return { from: sender, to: recipients, subject: subject ?? "", text };
}

function rawMail(
  raw: Buffer,
  from: Address | undefined,
  to: readonly Address[],
  subject: string | undefined,
): Mail {
  if (subject !== undefined) throw usage("With --raw the subject is the message's own");
  if (raw.length === 0) {
    throw new AppError("ERR_APP_MESSAGE", "There was no message on standard input");
  }
  if (from === undefined && to.length === 0) return { raw };
  if (from === undefined || to.length === 0) {
    throw usage("With --raw give both --from and --to, or neither: the message names them then");
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

/** What keeps the folder from being made is a fault that passes: the caller still has the message. */
function prepareFolder({ data }: Settings): void {
  try {
    prepareDataDirectory(data);
  } catch (cause) {
    const text = cause instanceof Error ? cause.message : String(cause);
    throw new AppError("ERR_APP_OUTBOX_NOT_NOW", text, { cause });
  }
}

function usage(text: string): AppError {
  return new AppError("ERR_APP_USAGE", text);
}
