/**
 * `postbag deliver`: delivers one message from standard input, which another mail system pipes in,
 * into a Maildir. Called by `cli/deliver.ts`.
 *
 * It works beside a running server: two writers of one Maildir need no lock, because file names
 * never repeat and a message becomes visible by one rename.
 */
import { statSync } from "node:fs";
import { join, resolve } from "node:path";
import { deliveryHeaders, MessageIntake, parsePath } from "../../mail/index.ts";
import { createKnownMailboxes, createNameSource, deliverAll } from "../../maildir/index.ts";
import { errnoOf, nodeFileSystem, systemClock } from "../../system/index.ts";
import { dataDirectoryAt, prepareDataDirectory } from "../data-directory.ts";
import { AppError, messageOf } from "../errors.ts";
import { localMailboxes, policyOf } from "../inbound/local-mailboxes.ts";
import type { Settings } from "../settings/table.ts";

export interface DeliverPipedOptions {
  readonly input: AsyncIterable<Uint8Array>;
  readonly settings: Settings;
  /** The recipient; without `maildir` the message goes into the recipient's mailbox. */
  readonly to: string | undefined;
  /** The path of the Maildir. Without it `to` selects the mailbox. */
  readonly maildir: string | undefined;
  /** The reverse-path, with or without angle brackets. @defaultValue the null reverse-path, `<>` */
  readonly from: string | undefined;
  /** Whether to create a missing `maildir`; if not, a missing one is `ERR_APP_DELIVERY`. */
  readonly create: boolean;
}

export interface PipedDelivery {
  /** The path of the Maildir. */
  readonly path: string;
  /** The name of the message's file in `new/`. */
  readonly id: string;
}

/**
 * Reads the message and delivers it; the message is durable on return.
 *
 * @throws {AppError} `ERR_APP_NO_MAILBOX` for a recipient without a mailbox here, `ERR_APP_ADDRESS`
 *   and `ERR_APP_MESSAGE` for an invalid address or message, `ERR_APP_DELIVERY` for every fault of
 *   this machine: then the caller should deliver the message again later.
 */
export async function deliverPiped(options: DeliverPipedOptions): Promise<PipedDelivery> {
  const { settings, from, to } = options;
  const reversePath = addressOf("--from", from ?? "<>");
  const recipient = to === undefined ? undefined : addressOf("--to", to);
  const { path, root } = await maildirOf(options, recipient);
  const content = await readMessage(options.input, settings);
  const head = headOf(reversePath, recipient, settings);
  const [result] = await deliverAll([{ maildir: path, body: Buffer.concat([head, content]) }], {
    fileSystem: nodeFileSystem,
    clock: systemClock,
    names: createNameSource({ clock: systemClock }),
    known: createKnownMailboxes(),
    root,
  });
  if (result?.ok) return { path, id: result.id };
  throw unstored(path, result?.error);
}

/**
 * The Maildir of the message. The `root` of a mailbox is the mail root, below which no symbolic
 * link is followed; the option `maildir` has no `root`.
 */
async function maildirOf(
  { settings, maildir, create }: DeliverPipedOptions,
  recipient: string | undefined,
): Promise<{ readonly path: string; readonly root?: string | undefined }> {
  if (maildir !== undefined) {
    const path = resolve(maildir);
    if (!create) requireMaildir(path);
    return { path };
  }
  const root = dataDirectoryAt(settings.data).mail;
  const mailboxes = localMailboxes({
    mailRoot: root,
    domains: ["localhost", ...settings.domain],
    policy: policyOf(settings),
  });
  const refusal = await mailboxes.checkRecipient(recipient ?? "");
  const path = mailboxes.mailboxOf(recipient ?? "");
  if (refusal !== undefined || typeof path !== "string") {
    const { code, text } = refusal ?? (path as Exclude<typeof path, string>);
    if (code < 500) throw new AppError("ERR_APP_DELIVERY", `${text} (${recipient})`);
    throw new AppError("ERR_APP_NO_MAILBOX", `No mailbox for ${recipient} here: ${text}`);
  }
  try {
    prepareDataDirectory(settings.data);
  } catch (cause) {
    throw unstored(path, cause);
  }
  return { path, root };
}

/** A missing Maildir may be an unmounted disk, so its error is temporary, not a wrong address. */
function requireMaildir(path: string): void {
  try {
    if (statSync(join(path, "new")).isDirectory()) return;
  } catch (cause) {
    if (errnoOf(cause) !== "ENOENT" && errnoOf(cause) !== "ENOTDIR") throw unstored(path, cause);
  }
  throw new AppError(
    "ERR_APP_DELIVERY",
    `There is no Maildir at ${path}. Check the path, or add --create`,
  );
}

function addressOf(flag: string, text: string): string {
  const path = parsePath(text.startsWith("<") ? text : `<${text}>`);
  const isNullAllowed = flag === "--from";
  if (path && path.rest === "" && (path.address !== "" || isNullAllowed)) return path.address;
  throw new AppError(
    "ERR_APP_ADDRESS",
    `${flag} must be an address such as you@localhost; got ${JSON.stringify(text)}`,
  );
}

async function readMessage(
  input: AsyncIterable<Uint8Array>,
  { maxMessageBytes, storedLineEndings }: Settings,
): Promise<Uint8Array> {
  const intake = new MessageIntake({
    lineEndings: storedLineEndings,
    bareNewlines: "normalise",
  });
  const pieces: Uint8Array[] = [];
  for await (const chunk of withoutMboxLine(input)) {
    pieces.push(intake.push(chunk));
    if (intake.received <= maxMessageBytes) continue;
    throw new AppError(
      "ERR_APP_MESSAGE",
      `The message is larger than maxMessageBytes (${maxMessageBytes})`,
    );
  }
  pieces.push(intake.end());
  if (intake.size > 0) return Buffer.concat(pieces);
  throw new AppError("ERR_APP_MESSAGE", "There is no message on standard input");
}

/**
 * Drops the `From ` line that programs for mbox put before the header, as Postfix's
 * mailbox_command.
 */
async function* withoutMboxLine(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let start: Buffer | undefined = Buffer.alloc(0);
  for await (const chunk of input) {
    if (start === undefined) {
      yield chunk;
      continue;
    }
    start = Buffer.concat([start, chunk]);
    if (start.length < mboxStart.length) continue;
    const isMbox = start.subarray(0, mboxStart.length).equals(mboxStart);
    const lineEnd = isMbox ? start.indexOf("\n") : -1;
    if (isMbox && lineEnd < 0 && start.length < 1_000) continue;
    yield start.subarray(lineEnd + 1);
    start = undefined;
  }
  if (start !== undefined && start.length > 0) yield start;
}

const mboxStart = Buffer.from("From ");

/** The trace fields: `Return-Path`, and `Delivered-To` when the option `to` was given. */
function headOf(
  reversePath: string,
  recipient: string | undefined,
  { storedLineEndings: lineEndings }: Settings,
): Uint8Array {
  const fields = Buffer.from(
    deliveryHeaders({ reversePath, recipient: recipient ?? "unknown", lineEndings }),
  );
  return recipient === undefined ? fields.subarray(0, fields.indexOf("Delivered-To:")) : fields;
}

function unstored(path: string, cause: unknown): AppError {
  const text = `The message was not stored in ${path}: ${messageOf(cause)}`;
  return new AppError("ERR_APP_DELIVERY", text, { cause });
}
