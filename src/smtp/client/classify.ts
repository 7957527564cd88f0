/**
 * Classifies a remote server's reply by a table of rules, those of the option `rules` first.
 *
 * The first digit alone is wrong in two cases. A refusal of this client (authentication, relaying
 * denied, TLS required) begins with a 5 and does not concern the message: on a configured relay it
 * is an error of the configuration, and the mail stays in the outbox. Some "permanent" codes are
 * worth a retry, such as a full mailbox. Where code and enhanced code disagree in class, the code
 * decides (RFC 3463 §2).
 *
 * @see RFC 5321 §4.2.1, §4.5.3.1.10; RFC 3463; RFC 7504 (521, 556); RFC 4954 §6 (530 to 538)
 */
import type { RecipientOutcome, Reply, ReplyPhase } from "../../mail/index.ts";

/**
 * `retry`: retry this recipient later. `route`: the server or the connection fails; retry later,
 * without counting an attempt of the message. `permanent`: give up. `config`: our settings are
 * wrong; like `route`, and an operator must act. `next-transaction`: too many recipients, send the
 * rest in a new transaction.
 */
export type ReplyClass = "retry" | "route" | "permanent" | "config" | "next-transaction";

/** A rule fits a reply where each of its conditions does. */
export interface ReplyRule {
  /** Phases whose replies fit. @defaultValue all */
  readonly phases?: readonly ReplyPhase[] | undefined;
  /** Codes, each as a number or as the beginning of one: `421`, `"45"`. @defaultValue all */
  readonly codes?: readonly (number | string)[] | undefined;
  /** Beginnings of enhanced codes: `"5.7."`, `"4.2.2"`. @defaultValue any code, or none */
  readonly enhanced?: readonly string[] | undefined;
  /** The text must match this. @defaultValue any text */
  readonly text?: RegExp | undefined;
  /** `relay`: only replies of the configured relay; `direct`: of other hosts. @defaultValue both */
  readonly route?: RouteKind | undefined;
  /** The class of a reply that fits. */
  readonly class: ReplyClass;
}

export type RouteKind = "relay" | "direct";

const session: readonly ReplyPhase[] = ["connect", "ehlo"];

/** The built-in table. The first rule that fits decides. */
export const replyRules: readonly ReplyRule[] = [
  // The server ends the session, whatever the command was (RFC 5321 §3.8).
  { codes: [421], class: "route" },
  // The server takes no mail at all (RFC 7504 §3); as a relay it is an error of our settings.
  { codes: [521, 556], route: "relay", class: "config" },
  { codes: [521, 556], class: "permanent" },
  // Results of our own lookup: no such domain, no mail host, or this host is the mail host.
  { phases: ["connect"], codes: [550], enhanced: ["5.1.2"], route: "direct", class: "permanent" },
  { phases: ["connect"], codes: [554], enhanced: ["5.4.6"], route: "direct", class: "permanent" },
  // Authentication and encryption: our settings (RFC 4954 §6, RFC 3207 §4).
  { codes: [530, 534, 535, 538], class: "config" },
  { codes: [454], enhanced: ["4.7."], class: "route" },
  // Replies to the connection and EHLO concern the session, never the message.
  { phases: session, codes: ["5"], route: "relay", class: "config" },
  { phases: session, class: "route" },
  // A relay that does not relay for us.
  { codes: [550, 551, 553, 554], text: /relay/i, route: "relay", class: "config" },
  { codes: ["5"], enhanced: ["5.7.8", "5.7.9", "5.7.11"], route: "relay", class: "config" },
  {
    codes: [550, 553, 554],
    text: /sender.*(?:not allowed|not owned|rejected)/i,
    route: "relay",
    phases: ["mail"],
    class: "config",
  },
  // Too many recipients, also with the old code 552 (RFC 5321 §4.5.3.1.10).
  { phases: ["rcpt"], codes: [452, 552], enhanced: ["4.5.3", "5.5.3"], class: "next-transaction" },
  { phases: ["rcpt"], codes: [452, 552], text: /too many recipients/i, class: "next-transaction" },
  { phases: ["rcpt"], codes: [552], enhanced: ["5.2.2"], class: "retry" },
  { phases: ["rcpt"], codes: [552], enhanced: ["5."], class: "permanent" },
  { phases: ["rcpt"], codes: [552], class: "next-transaction" },
  // A mailbox that is full now may have room later.
  { codes: ["5"], enhanced: ["5.2.2"], class: "retry" },
  // Rate limits and reputation: the same for every message of ours on this route.
  {
    codes: [450, 451, 452],
    enhanced: ["4.7."],
    text: /rate|too (?:many|fast)|throttl/i,
    class: "route",
  },
  { codes: ["4"], class: "retry" },
  { codes: ["5"], class: "permanent" },
];

/** A reply and the route on which it came. */
interface RouteReply {
  readonly reply: Reply;
  readonly route: RouteKind;
}

/** Finds the class by the first rule that fits; without one it is `retry`. */
export function classify(given: RouteReply, rules: readonly ReplyRule[]): ReplyClass {
  return rules.find((rule) => fits(rule, given))?.class ?? "retry";
}

function fits(rule: ReplyRule, { reply, route }: RouteReply): boolean {
  return (
    (rule.phases?.includes(reply.phase) ?? true) &&
    (rule.codes?.some((code) => String(reply.code).startsWith(String(code))) ?? true) &&
    (rule.enhanced?.some((start) => (reply.enhanced ?? "").startsWith(start)) ?? true) &&
    (rule.text?.test(reply.text) ?? true) &&
    (rule.route === undefined || rule.route === route)
  );
}

/** The scope of a refusal that concerns the mail, by its phase. */
const scopeOf = (phase: ReplyPhase) =>
  phase === "rcpt" || phase === "connect" ? "recipient" : "message";

/** The outcome of a recipient that a reply of this class refused. */
export function outcomeOf(reply: Reply, replyClass: ReplyClass): RecipientOutcome {
  switch (replyClass) {
    case "permanent":
      return { kind: "failed", reply, scope: scopeOf(reply.phase) };
    case "route":
    case "config":
      return { kind: "deferred", reply, scope: "route" };
    case "retry":
    case "next-transaction":
      return { kind: "deferred", reply, scope: scopeOf(reply.phase) };
  }
}
