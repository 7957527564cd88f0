/**
 * What a transaction's end means for each recipient: who was refused by name, who by the reply to all, and
 * who is in doubt because that reply is missing.
 */
import type { SMTPConnectionSendInfo } from "nodemailer/lib/smtp-connection";
import type { Reply, ReplyPhase } from "../../mail/index.ts";
import { isReply, oneLine, readReply } from "./reply-text.ts";

/** What became of one recipient in one transaction. */
export interface RecipientReply {
  readonly reply: Reply;
  readonly accepted: boolean;
  /** The reply to the final dot is missing. */
  readonly inDoubt?: true;
  readonly via?: string;
}

/** Where a transaction is; nothing can have been accepted before `dot`. */
export type Stage = "idle" | "envelope" | "body" | "dot";

/** What nodemailer reports; it is typed loosely there. */
export interface ConnectionError extends Error {
  readonly code?: string;
  readonly command?: string;
  readonly response?: string;
  readonly recipient?: string;
  readonly rejectedErrors?: readonly ConnectionError[];
}

/** The envelope as nodemailer keeps it while a transaction runs. */
export interface TrackedEnvelope {
  from: string | false;
  to: string[];
  size: number;
  use8BitMime: boolean;
  rejectedErrors?: ConnectionError[];
  /** MAIL was refused; whatever was answered to the commands sent behind it means nothing. */
  mailError?: ConnectionError;
}

/** How a transaction ended. */
export type TransactionEnd =
  | { readonly kind: "answered"; readonly info: SMTPConnectionSendInfo | undefined }
  /** One reply refused whoever was not refused before. */
  | { readonly kind: "refused"; readonly reply: Reply }
  | { readonly kind: "broken"; readonly reply: Reply };

export function endOf(error: ConnectionError, stage: Stage): TransactionEnd {
  const { code, command, response, message } = error;
  if (stage === "dot" && response && !isReply(response)) {
    return { kind: "broken", reply: readReply(response, "message") };
  }
  if (code === "EENVELOPE" || code === "EMESSAGE") {
    if (response) return { kind: "refused", reply: readReply(response, phaseOf(command, stage)) };
    if (code === "EMESSAGE") {
      return {
        kind: "refused",
        reply: { code: 552, enhanced: "5.3.4", text: message, phase: "mail" },
      };
    }
    return {
      kind: "refused",
      reply: { code: 553, enhanced: "5.1.3", text: message, phase: "mail" },
    };
  }
  return { kind: "broken", reply: brokenReply(error, stage) };
}

function phaseOf(command: string | undefined, stage: Stage): ReplyPhase {
  if (stage === "dot") return "message";
  if (command === "DATA") return "data";
  return command === "RCPT TO" ? "rcpt" : "mail";
}

const phaseOfStage: Record<Stage, ReplyPhase> = {
  idle: "connect",
  envelope: "mail",
  body: "data",
  dot: "message",
};

/** A connection that ended by itself counts as 451 (RFC 5321 §3.8). */
export function brokenReply(reason: unknown, stage: Stage): Reply {
  return failureReply(reason, phaseOfStage[stage]);
}

/** What the server said when it gave up, else what happened. */
export function failureReply(reason: unknown, phase: ReplyPhase, encrypting = false): Reply {
  const { response, code, message = String(reason) } = reason as Partial<ConnectionError>;
  // A refused STARTTLS says little by itself: some servers call it an unknown command.
  if (response && code !== "ETLS") return readReply(response, phase);
  const enhanced = encrypting || code === "ETLS" ? "4.7.5" : code === "EAUTH" ? "4.7.0" : "4.4.2";
  return { code: 451, enhanced, text: oneLine(message), phase };
}

/** Gives each recipient the reply that decided about it. */
export function repliesOf(
  envelope: TrackedEnvelope,
  end: TransactionEnd,
  stage: Stage,
): RecipientReply[] {
  const { mailError } = envelope;
  if (mailError?.response) {
    const reply = readReply(mailError.response, "mail");
    return envelope.to.map(() => ({ reply, accepted: false }));
  }
  const phase = stage === "dot" ? "message" : "rcpt";
  const refused = new Map<string, Reply>();
  /** The reply that ended the session, if one did: it is for all who have none of their own (RFC 5321 §3.8). */
  let farewell: Reply | undefined;
  for (const error of envelope.rejectedErrors ?? []) {
    const lateRefusal = error.code === "EMESSAGE"; // An LMTP server's, after the final dot.
    const reply = readReply(error.response ?? "", lateRefusal ? phase : "rcpt");
    refused.set(error.recipient ?? "", reply);
    if (reply.code === 421) farewell = reply;
  }
  return envelope.to.map((recipient) => {
    const own = refused.get(recipient);
    if (own) return { reply: own, accepted: false };
    if (end.kind === "answered") {
      const response = end.info?.response ?? "";
      const reply = readReply(response, "message");
      return isReply(response)
        ? { reply, accepted: true }
        : { reply, accepted: false, inDoubt: true };
    }
    const lost = end.kind === "broken" && stage === "dot";
    if (farewell && stage === "envelope") return { reply: farewell, accepted: false };
    return { reply: end.reply, accepted: false, ...(lost && { inDoubt: true as const }) };
  });
}
