/**
 * A sender that sends nothing: it stores each delivery in a folder, for people and tests to read.
 * The server uses this sender until its settings name a way to send mail, so that a first run
 * cannot send mail to strangers.
 *
 * A delivery is two files: `<name>.eml` has the bytes that would have been sent, `<name>.json` the
 * envelope. The envelope is durable before the message gets its name, so that every `.eml` has its
 * recipients beside it. Names begin with the instant of the capture in UTC, so that a listing is in
 * order.
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type {
  Deliver,
  DeliverOptions,
  Envelope,
  Message,
  RecipientOutcome,
} from "../mail/index.ts";
import { type Clock, errnoOf, systemClock, writeFileDurably } from "../system/index.ts";

export interface CaptureOptions {
  /** The files' folder; the first delivery makes it, with mode 0700. Its parent must exist. */
  readonly folder: string;
  /** @defaultValue the machine's clock */
  readonly clock?: Clock | undefined;
}

/** The content of the `.json` file beside a message. */
export interface CapturedEnvelope extends Envelope {
  /** The instant of the capture: ISO 8601, in UTC. */
  readonly capturedAt: string;
  /** Bytes of the message. */
  readonly size: number;
}

/**
 * Makes a {@link Deliver} that stores everything and sends nothing. When its promise resolves with
 * `delivered`, both files are durable. A disk error defers the delivery as a failure of the route,
 * which spends no attempt.
 */
export function captureMail({ folder, clock = systemClock }: CaptureOptions): Deliver {
  let made: Promise<void> | undefined;

  return async (envelope, message, options) => {
    options.signal.throwIfAborted();
    try {
      made ??= makeFolder(folder);
      await made;
    } catch (error) {
      made = undefined; // The disk may work again next time.
      return envelope.recipients.map(() => deferred(error));
    }
    const at = new Date(clock.wallTimeMs()).toISOString();
    const name = `${at.replaceAll(/[-:]/g, "")}-${randomBytes(4).toString("hex")}`;
    const outcome = await store(join(folder, name), { at, envelope, message, options });
    return envelope.recipients.map(() => outcome);
  };
}

interface Capture {
  readonly at: string;
  readonly envelope: Envelope;
  readonly message: Message;
  readonly options: DeliverOptions;
}

/** Stores one delivery. Throws only the error of `beforeCommit`, and then leaves no file. */
async function store(path: string, capture: Capture): Promise<RecipientOutcome> {
  const { at, envelope, message, options } = capture;
  const facts: CapturedEnvelope = { ...envelope, capturedAt: at, size: message.size };
  let refusal: { readonly reason: unknown } | undefined;
  const beforeRename = async () => {
    try {
      await options.beforeCommit?.();
    } catch (reason) {
      refusal = { reason };
      throw reason;
    }
  };
  try {
    await writeFileDurably(`${path}.json`, `${JSON.stringify(facts, undefined, 2)}\n`);
    await writeFileDurably(`${path}.eml`, await message.bytes(), { beforeRename });
  } catch (error) {
    await rm(`${path}.json`, { force: true }).catch(() => {});
    if (refusal) throw refusal.reason;
    return deferred(error);
  }
  return {
    kind: "delivered",
    via: "captured",
    reply: { code: 250, enhanced: "2.0.0", text: "Captured, not sent", phase: "local" },
  };
}

/** Makes the folder; on return its name is durable. */
async function makeFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const parent = await open(dirname(folder));
  try {
    await parent.sync();
  } finally {
    await parent.close();
  }
}

function deferred(error: unknown): RecipientOutcome {
  const text = `Not captured (${errnoOf(error) ?? "an error of this host"})`;
  const reply = { code: 452, enhanced: "4.3.1", text, phase: "local" as const };
  return { kind: "deferred", scope: "route", reply };
}
