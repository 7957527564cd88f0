/**
 * What a remote server's reply means for the mail: a table, read from the top, the user's own rules
 * first.
 *
 * The first digit alone misleads twice. A refusal of *us* (authentication, relaying denied, TLS wanted) is
 * written with a 5 and says nothing about the message: on a configured relay it is a fault of the
 * configuration, and the mail is kept. And some "permanent" codes are worth another day, such as a full
 * mailbox. Where code and enhanced code disagree in class, the code decides whether to try again
 * (RFC 3463 §2).
 *
 * @see RFC 5321 §4.2.1, §4.5.3.1.10; RFC 3463; RFC 7504 (521, 556); RFC 4954 §6 (530, 534, 535, 538)
 */
import type { RecipientOutcome, Reply, ReplyPhase } from "../../mail/index.ts";

/**
 * `retry`: this recipient later. `route`: the server or the way there, later, and no attempt of the
 * message is spent. `permanent`: give up. `config`: our own settings are at fault; like `route`, and
 * somebody must look. `next-transaction`: too many recipients, the rest at once in a new transaction.
 */
export type ReplyClass = "retry" | "route" | "permanent" | "config" | "next-transaction";

export interface ReplyRule {
  /** Phases the rule is for; all when absent. */
  readonly phases?: readonly ReplyPhase[];
  /** Codes, each as number or as the beginning of one: `421`, `"45"`. */
  readonly codes?: readonly (number | string)[];
  /** Beginnings of enhanced codes: `"5.7."`, `"4.2.2"`. */
  readonly enhanced?: readonly string[];
  /** What the text must contain. */
  readonly text?: RegExp;
  /** Only where the route is a relay of the owner's choice, or only where it is a stranger's host. */
  readonly route?: RouteKind;
  readonly class: ReplyClass;
}

export type RouteKind = "relay" | "direct";

const session: readonly ReplyPhase[] = ["connect", "ehlo"];

/** The built-in table. The first rule that fits decides. */
export const replyRules: readonly ReplyRule[] = [
  // The server ends the session, whatever was asked (RFC 5321 §3.8).
  { codes: [421], class: "route" },
  // It takes no mail at all (RFC 7504 §3): for a relay a wrong address in our settings.
  { codes: [521, 556], route: "relay", class: "config" },
  { codes: [521, 556], class: "permanent" },
  // There is no such domain, it has no mail host, or its host is this one; our own lookup says so.
  { phases: ["connect"], codes: [550], enhanced: ["5.1.2"], route: "direct", class: "permanent" },
  { phases: ["connect"], codes: [554], enhanced: ["5.4.6"], route: "direct", class: "permanent" },
  // Authentication and encryption: ours to mend (RFC 4954 §6, RFC 3207 §4).
  { codes: [530, 534, 535, 538], class: "config" },
  { codes: [454], enhanced: ["4.7."], class: "route" },
  // Greeting and EHLO speak of the session, never of the message.
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
  // Too many recipients, also in the old spelling (RFC 5321 §4.5.3.1.10).
  { phases: ["rcpt"], codes: [452, 552], enhanced: ["4.5.3", "5.5.3"], class: "next-transaction" },
  { phases: ["rcpt"], codes: [452, 552], text: /too many recipients/i, class: "next-transaction" },
  { phases: ["rcpt"], codes: [552], enhanced: ["5.2.2"], class: "retry" },
  { phases: ["rcpt"], codes: [552], enhanced: ["5."], class: "permanent" },
  { phases: ["rcpt"], codes: [552], class: "next-transaction" },
  // A mailbox that is full today may not be tomorrow.
  { codes: ["5"], enhanced: ["5.2.2"], class: "retry" },
  // Rate limits and reputation: the same for every message of ours on that way.
  {
    codes: [450, 451, 452],
    enhanced: ["4.7."],
    text: /rate|too (?:many|fast)|throttl/i,
    class: "route",
  },
  { codes: ["4"], class: "retry" },
  { codes: ["5"], class: "permanent" },
];

/** What is known when a reply is judged. */
export interface ReplyFacts {
  readonly reply: Reply;
  readonly route: RouteKind;
}

/** Finds the first rule that fits; what no rule knows is tried again. */
export function classify(facts: ReplyFacts, rules: readonly ReplyRule[]): ReplyClass {
  return rules.find((rule) => fits(rule, facts))?.class ?? "retry";
}

function fits(rule: ReplyRule, { reply, route }: ReplyFacts): boolean {
  return (
    (rule.phases?.includes(reply.phase) ?? true) &&
    (rule.codes?.some((code) => String(reply.code).startsWith(String(code))) ?? true) &&
    (rule.enhanced?.some((start) => (reply.enhanced ?? "").startsWith(start)) ?? true) &&
    (rule.text?.test(reply.text) ?? true) &&
    (rule.route === undefined || rule.route === route)
  );
}

/** How far a refusal given in this phase reaches when it is about the mail itself. */
const reach = (phase: ReplyPhase) =>
  phase === "rcpt" || phase === "connect" ? "recipient" : "message";

/** The outcome of a recipient whom a reply of this class refused. */
export function outcomeOf(reply: Reply, replyClass: ReplyClass): RecipientOutcome {
  switch (replyClass) {
    case "permanent":
      return { kind: "failed", reply, scope: reach(reply.phase) };
    case "route":
    case "config":
      return { kind: "deferred", reply, scope: "route" };
    case "retry":
    case "next-transaction":
      return { kind: "deferred", reply, scope: reach(reply.phase) };
  }
}
