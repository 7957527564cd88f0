/**
 * From DATA to the replies: receives a message, has it delivered, and answers.
 *
 * Invariant: one reply for SMTP, one for each accepted recipient for LMTP, in the order of RCPT, whatever
 * happens (RFC 5321 §4.2, RFC 2033 §4.2). Only `Deliver` can cause a 2yz, and only what is wrong with
 * the message itself a 5yz; every fault of ours is a 4yz.
 */
import type { Readable } from "node:stream";
import {
  type Address,
  addressParts,
  type Envelope,
  type Message,
  type RecipientOutcome,
  type Reply,
  receivedHeader,
  refused,
  reply,
  type TransmissionType,
} from "../mail/index.ts";
import type { Connection } from "./connection.ts";
import { SmtpError } from "./errors.ts";
import type { SessionInfo } from "./events.ts";
import { bareNewlinesFor, type Settings } from "./options.ts";
import { replyForAll } from "./outcomes.ts";
import { bareNewline, receive } from "./receive.ts";
import type { Spool } from "./spool.ts";

/** Takes one message and resolves with the replies to its final dot; never rejects. */
export async function takeMessage(
  settings: Settings,
  spool: Spool,
  connection: Connection,
  stream: Readable,
): Promise<readonly Reply[]> {
  const { limits, storedLineEndings, onEvent } = settings;
  const session = connection.info();
  const incoming = spool.begin(announcedBytes(connection));
  try {
    const receipt = await receive(stream, incoming, {
      head: receivedHead(settings, connection),
      maxMessageBytes: limits.maxMessageBytes,
      lineEndings: storedLineEndings,
      bareNewlines: bareNewlinesFor(settings, session.isLocal),
    });
    switch (receipt.kind) {
      case "whole":
        return await deliver(
          settings,
          connection,
          session,
          incoming.message(),
          receipt.deliveredTo,
        );
      case "aborted":
        onEvent({ kind: "aborted", session, received: receipt.received });
        return [];
      case "refused":
        if (receipt.reply === bareNewline) connection.hangUp(illFormed);
        onEvent({ kind: "refused", session, reply: receipt.reply });
        return toEach(settings, connection, receipt.reply);
      case "error":
        onEvent({ kind: "error", during: "spool", error: receipt.error, session });
        return toEach(settings, connection, isFull(receipt.error) ? noRoom : ourFault);
    }
  } catch (error) {
    onEvent({ kind: "error", during: "session", error, session });
    return toEach(settings, connection, ourFault);
  } finally {
    incoming.discard().catch((error: unknown) => {
      onEvent({ kind: "error", during: "spool", error, session });
    });
  }
}

const ourFault = reply(451, "4.3.0", "Fault on this host, try again later", "message");
const noRoom = reply(452, "4.3.1", "Not enough storage now, try again later", "message");
const notAdmitted = reply(
  452,
  "4.3.1",
  "Too busy to take the message now, try again later",
  "message",
);
const cameBack = reply(
  554,
  "5.4.6",
  "This mailbox has had the message before, it is in a loop",
  "rcpt",
);
const illFormed = reply(421, "4.7.0", "Lines must end in CRLF, closing", "message");

async function deliver(
  settings: Settings,
  connection: Connection,
  session: SessionInfo,
  message: Message,
  deliveredTo: readonly string[],
): Promise<readonly Reply[]> {
  const { clock, protocol, onEvent } = settings;
  const startedMs = clock.now();
  const { recipients, positions } = withoutRepeats(connection.recipients);
  const envelope = { reversePath: connection.reversePath ?? "", recipients };
  const hadIt = protocol === "smtp" ? keysOf(deliveredTo) : new Set<string>();
  const fresh =
    hadIt.size === 0 ? recipients : recipients.filter((each) => !hadIt.has(keyOf(each)));
  const results = await outcomesOf(
    settings,
    connection,
    session,
    { ...envelope, recipients: fresh },
    message,
  );
  const outcomes =
    fresh === recipients
      ? results
      : recipients.map((each) => results[fresh.indexOf(each)] ?? refused(cameBack));
  const answer = protocol === "smtp" ? replyForAll(outcomes) : undefined;
  onEvent({
    kind: "accepted",
    session,
    envelope,
    size: message.size,
    outcomes,
    ...(answer && { reply: answer }),
    durationMs: clock.now() - startedMs,
    isAnswered: !connection._closed,
  });
  return answer ? [answer] : positions.map((position) => outcomes[position]?.reply ?? ourFault);
}

/** Calls `Deliver` and turns whatever it does into one outcome per recipient. */
async function outcomesOf(
  { clock, limits, deliver: deliverMessage, onEvent }: Settings,
  connection: Connection,
  session: SessionInfo,
  envelope: Envelope,
  message: Message,
): Promise<readonly RecipientOutcome[]> {
  const { recipients } = envelope;
  if (recipients.length === 0) return [];
  const admission = new AbortController();
  const { signal } = admission;
  const timer = clock.setTimeout(() => admission.abort(timedOut), limits.admissionTimeoutMs);
  const stopWaiting = () => admission.abort(clientGone);
  connection.onGone = stopWaiting;
  try {
    const outcomes = await deliverMessage(envelope, message, { signal });
    if (outcomes.length !== recipients.length) {
      const text = `deliver returned ${outcomes.length} outcomes for ${recipients.length} recipients`;
      throw new SmtpError("ERR_SMTP_OUTCOME_COUNT", text);
    }
    return signal.aborted ? outcomes.map(asNotAdmitted) : outcomes;
  } catch (error) {
    if (!signal.aborted) onEvent({ kind: "error", during: "deliver", error, session });
    return recipients.map(() => refused(signal.aborted ? notAdmitted : ourFault, "route"));
  } finally {
    clock.clearTimeout(timer);
    connection.onGone = undefined;
    if (signal.reason === timedOut) {
      onEvent({ kind: "limit", limit: "admissionTimeoutMs", reply: notAdmitted, session });
    }
  }
}

const timedOut = new DOMException("The message was not admitted in time", "TimeoutError");
const clientGone = new DOMException("The client has gone", "AbortError");

function asNotAdmitted(outcome: RecipientOutcome): RecipientOutcome {
  return outcome.kind === "deferred" ? { ...outcome, reply: notAdmitted } : outcome;
}

/** One copy for each mailbox, and for each recipient named the position of its copy. */
function withoutRepeats(named: readonly Address[]): { recipients: Address[]; positions: number[] } {
  const positionOf = new Map<string, number>();
  const recipients: Address[] = [];
  const positions = named.map((address) => {
    const key = keyOf(address);
    const known = positionOf.get(key);
    if (known !== undefined) return known;
    positionOf.set(key, recipients.length);
    return recipients.push(address) - 1;
  });
  return { recipients, positions };
}

/** The same for every spelling of an address. */
function keyOf(address: Address): string {
  const parts = addressParts(address);
  return parts ? `${parts.localPart}@${parts.domain}` : address;
}

function keysOf(addresses: readonly Address[]): Set<string> {
  return new Set(addresses.map(keyOf));
}

function toEach({ protocol }: Settings, { recipients }: Connection, given: Reply): Reply[] {
  return protocol === "lmtp" ? recipients.map(() => given) : [given];
}

function receivedHead(settings: Settings, connection: Connection): Uint8Array {
  const { recipients } = connection;
  return receivedHeader({
    helo: connection.hostNameAppearsAs || "",
    ...(connection.remoteAddress && { clientAddress: connection.remoteAddress }),
    by: settings.hostname,
    with: transmissionType(settings, connection),
    id: connection.id,
    ...(recipients.length === 1 && { for: recipients[0] }),
    receivedAtMs: settings.clock.wallTimeMs(),
    lineEndings: settings.storedLineEndings,
  });
}

/** The `with` keyword (RFC 3848; RFC 6531 §4.3 where SMTPUTF8 was asked for). */
function transmissionType({ protocol }: Settings, connection: Connection): TransmissionType {
  if (connection.session.envelope.smtpUtf8) return protocol === "lmtp" ? "UTF8LMTP" : "UTF8SMTP";
  if (protocol === "lmtp") return "LMTP";
  return connection.openingCommand === "HELO" ? "SMTP" : "ESMTP";
}

/** The SIZE the client gave with MAIL (RFC 1870), 0 when it gave none. */
function announcedBytes({ session }: Connection): number {
  const { mailFrom } = session.envelope;
  const parameters = mailFrom ? mailFrom.args : false;
  return parameters ? Number(parameters.SIZE ?? 0) : 0;
}

function isFull(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOSPC" || code === "EDQUOT";
}
