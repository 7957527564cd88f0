/**
 * A sender that sends nothing: it keeps each delivery in a folder, for people and tests to look at. It is
 * what the server starts with, so that a first run can never write to a stranger.
 *
 * A delivery is two files: `<name>.eml`, the octets that would have gone out, and `<name>.json`, the
 * envelope. The envelope is durable before the message has its name, so whoever sees an `.eml` can read
 * for whom it was. Names begin with the instant, so that a listing is in order.
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
  /** Where the files go; made when the first mail comes (0700). Its parent must be there. */
  readonly folder: string;
  /** @defaultValue the machine's clock */
  readonly clock?: Clock;
}

/** What the `.json` beside a message says. */
export interface CapturedEnvelope extends Envelope {
  /** ISO 8601, in UTC. */
  readonly capturedAt: string;
  /** Octets of the message. */
  readonly size: number;
}

/**
 * Makes a {@link Deliver} that keeps everything and sends nothing. A delivery is durable when it
 * resolves. A fault of the disk defers it, and is the route's fault: it spends no attempt.
 */
export function captureMail({ folder, clock = systemClock }: CaptureOptions): Deliver {
  let made: Promise<void> | undefined;

  return async (envelope, message, options) => {
    options.signal.throwIfAborted();
    try {
      made ??= makeFolder(folder);
      await made;
    } catch (error) {
      made = undefined; // The disk may be well again next time.
      return envelope.recipients.map(() => deferred(error));
    }
    const at = new Date(clock.wallTimeMs()).toISOString();
    const name = `${at.replaceAll(/[-:]/g, "")}-${randomBytes(4).toString("hex")}`;
    const outcome = await keep(join(folder, name), { at, envelope, message, options });
    return envelope.recipients.map(() => outcome);
  };
}

interface Capture {
  readonly at: string;
  readonly envelope: Envelope;
  readonly message: Message;
  readonly options: DeliverOptions;
}

/** Throws only what `beforeCommit` threw; then nothing is kept. */
async function keep(path: string, capture: Capture): Promise<RecipientOutcome> {
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

/** Makes the folder; on return its name survives a power cut. */
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
  const text = `Not captured (${errnoOf(error) ?? "a fault of this host"})`;
  const reply = { code: 452, enhanced: "4.3.1", text, phase: "local" as const };
  return { kind: "deferred", scope: "route", reply };
}
