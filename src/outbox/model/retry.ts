/**
 * When to try again: policies as data, and what a reply itself says about it.
 *
 * A delay is drawn from a range, never from a point: mail that failed together must not come back
 * together. Chance is a parameter, so that both ends of every range can be tested.
 *
 * @see RFC 5321 §4.5.4.1 (retry strategy), RFC 6647 §4 (greylisting).
 */
import type { KeptReply } from "./rows.ts";

/** Delays after the n-th attempt of a cycle, n from 1. */
export type RetryPolicy =
  /** min(base × 2^(n−1), max), then jitter both ways, then at least base: the maximum is exceeded. */
  | {
      readonly kind: "exponential";
      readonly baseMs: number;
      readonly maxMs: number;
      /** 0.25 draws from 75 % to 125 %. */
      readonly jitter: number;
    }
  /** The n-th step, and the last for all further; drawn around it, but within the two bounds. */
  | {
      readonly kind: "steps";
      readonly stepsMs: readonly number[];
      readonly jitter: number;
      readonly minMs: number;
      readonly maxMs: number;
    };

/** A number from 0 up to, but not including, 1. */
export type Random = () => number;

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;

/** For relays and mail that is soon worthless: seconds first, then at most about an hour. */
export const referenceRetry: RetryPolicy = {
  kind: "exponential",
  baseMs: 5 * second,
  maxMs: hour,
  jitter: 0.25,
};

/** For other people's servers: five minutes first, three hours in the end. */
export const mtaRetry: RetryPolicy = {
  kind: "steps",
  stepsMs: [5 * minute, 10 * minute, 20 * minute, 40 * minute, 1.5 * hour, 3 * hour],
  jitter: 0.2,
  minMs: 5 * minute,
  maxMs: 3.6 * hour,
};

/** A greylisting server refuses whoever comes back sooner. */
export const GREYLIST_MIN_MS = 5 * minute;

/** A hint beyond this is not obeyed, but cut. */
const MAX_HINT_MS = 24 * hour;

/** One below this neither, unless the policy itself comes back sooner: a server must not keep us busy. */
const MIN_HINT_MS = minute;

/**
 * Draws the delay after the `attempt`-th attempt of a cycle, in milliseconds.
 *
 * @param reply - What was answered: a time it names is never undercut, and takes the place of the
 *   policy; one of seconds is made a minute, or the least that the policy knows. Greylisting is given
 *   at least five minutes.
 */
export function retryDelayMs(
  policy: RetryPolicy,
  attempt: number,
  random: Random,
  reply?: KeptReply,
): number {
  const hint = reply && hintMs(reply.text);
  const delay =
    hint === undefined
      ? policyDelayMs(policy, attempt, random)
      : Math.max(hint, leastHintMs(policy)) * (1 + 0.1 * random());
  const least = reply && isGreylisting(reply) ? GREYLIST_MIN_MS * (1 + 0.1 * random()) : 0;
  return Math.round(Math.max(delay, least));
}

function leastHintMs(policy: RetryPolicy): number {
  return Math.min(MIN_HINT_MS, policy.kind === "exponential" ? policy.baseMs : policy.minMs);
}

/** Draws the delay a policy asks for after the `attempt`-th attempt. */
export function policyDelayMs(policy: RetryPolicy, attempt: number, random: Random): number {
  const { jitter } = policy;
  switch (policy.kind) {
    case "exponential": {
      const middle = Math.min(policy.baseMs * 2 ** (attempt - 1), policy.maxMs);
      return Math.max(policy.baseMs, middle * (1 - jitter + 2 * jitter * random()));
    }
    case "steps": {
      const { stepsMs, minMs, maxMs } = policy;
      const index = Math.min(Math.max(attempt, 1), stepsMs.length) - 1;
      const step = stepsMs[index] as number;
      // The range is cut before the draw, so that no delay is more likely than another.
      const least = within(step * (1 - jitter), minMs, maxMs);
      const most = within(step * (1 + jitter), minMs, maxMs);
      return least + (most - least) * random();
    }
  }
}

function within(value: number, least: number, most: number): number {
  return Math.min(Math.max(value, least), most);
}

const units: Record<string, number> = { s: second, m: minute, h: hour };

/** The time a reply asks to wait, as in `try again in 300 seconds` or `retry=300`. */
export function hintMs(text: string): number | undefined {
  const tag = /\bretry=(\d{1,6})\b/i.exec(text);
  const words =
    /\b(?:again|retry|wait|come back)\b(?: (?:in|after|for|at least|another|about))* (\d{1,6}) ?(s|m|h)(?:ec(?:ond)?s?|in(?:ute)?s?|ours?)?\b/i.exec(
      text,
    );
  const amount = tag ?? words;
  if (!amount) return undefined;
  const ms = Number(amount[1]) * (units[(amount[2] ?? "s").toLowerCase()] ?? second);
  return ms > 0 ? Math.min(ms, MAX_HINT_MS) : undefined;
}

/** Tells whether a temporary refusal is greylisting, by the words such servers use. */
export function isGreylisting({ code, text }: KeptReply): boolean {
  return code >= 400 && code < 500 && /gr[ae]y[- ]?list/i.test(text);
}
