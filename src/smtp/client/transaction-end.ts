/**
 * Finds each recipient's reply in nodemailer's report of a transaction: the refusal of its RCPT, or
 * the reply to the message. A recipient is in doubt where the connection ended between the final
 * dot and the reply. Called by session.ts. Pure.
 */
import type { SMTPConnectionSendInfo } from "nodemailer/lib/smtp-connection";
import type { Reply, ReplyPhase } from "../../mail/index.ts";
import { isReply, oneLine, readReply } from "./reply-text.ts";

/** The reply to one recipient in one transaction. */
export interface RecipientReply {
  readonly reply: Reply;
  /** The server accepted the message for this recipient. */
  readonly accepted: boolean;
  /** The reply to the final dot is missing; the server may have accepted the message. */
  readonly inDoubt?: boolean | undefined;
  /** The server that replied, and the encryption. */
  readonly via?: string | undefined;
}

/** The stage of a transaction; before `dot` the server cannot have accepted the message. */
export type Stage = "idle" | "envelope" | "body" | "dot";

/** An error of nodemailer, with the fields read here, which nodemailer's own types leave open. */
export interface ConnectionError extends Error {
  readonly code?: string;
  readonly command?: string;
  readonly response?: string;
  readonly recipient?: string;
  readonly rejectedErrors?: readonly ConnectionError[];
}

/** The envelope object in which nodemailer records the refusals of a transaction. */
export interface TrackedEnvelope {
  from: string | false;
  to: string[];
  size: number;
  use8BitMime: boolean;
  rejectedErrors?: ConnectionError[];
  /** MAIL was refused; the replies to the commands pipelined after it have no meaning. */
  mailError?: ConnectionError;
}

/** How a transaction ended. */
export type TransactionEnd =
  /** nodemailer reports success; `info` has the reply to the message. */
  | { readonly kind: "answered"; readonly info: SMTPConnectionSendInfo | undefined }
  /** One reply refused all recipients that were not refused at RCPT. */
  | { readonly kind: "refused"; readonly reply: Reply }
  /** An error, a timeout or an abort ended the transaction without a reply; `reply` is ours. */
  | { readonly kind: "broken"; readonly reply: Reply };

/** Reads nodemailer's error as the end of a transaction. */
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

/** Makes the reply for a connection that ended without a reply: 451 (RFC 5321 §3.8). */
export function brokenReply(reason: unknown, stage: Stage): Reply {
  return failureReply(reason, phaseOfStage[stage]);
}

/** Returns the server's reply in the error, or else a 451 with the error's text. */
export function failureReply(reason: unknown, phase: ReplyPhase, encrypting = false): Reply {
  const { response, code, message = String(reason) } = reason as Partial<ConnectionError>;
  // The reply to a refused STARTTLS is not used: some servers reply "unknown command" to STARTTLS.
  if (response && code !== "ETLS") return readReply(response, phase);
  const enhanced = encrypting || code === "ETLS" ? "4.7.5" : code === "EAUTH" ? "4.7.0" : "4.4.2";
  return { code: 451, enhanced, text: oneLine(message), phase };
}

/** Finds the reply that decided about each recipient of the envelope, in order. */
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
  /** A 421 that ended the session is for all recipients without a reply (RFC 5321 §3.8). */
  let closing: Reply | undefined;
  for (const error of envelope.rejectedErrors ?? []) {
    const isLate = error.code === "EMESSAGE"; // A refusal by an LMTP server after the final dot.
    const reply = readReply(error.response ?? "", isLate ? phase : "rcpt");
    refused.set(error.recipient ?? "", reply);
    if (reply.code === 421) closing = reply;
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
    const isLost = end.kind === "broken" && stage === "dot";
    if (closing && stage === "envelope") return { reply: closing, accepted: false };
    return { reply: end.reply, accepted: false, inDoubt: isLost };
  });
}
