/**
 * Delays before retries: policies as data, and hints in the text of a reply.
 *
 * When the worker judges an attempt (`judge` in delivery-state.ts), `retryDelayMs` draws the delay
 * from a range: mail that failed together must not be retried together. The random source is the
 * worker's option `random`, so that tests can reach both ends of every range.
 *
 * @see RFC 5321 §4.5.4.1 (retry strategy), RFC 6647 §4 (greylisting).
 */
import type { KeptReply } from "./rows.ts";

/** Delays after the n-th attempt of a cycle, n from 1. */
export type RetryPolicy =
  /** min(base × 2^(n−1), max) ± jitter, then at least base; the jitter may exceed the maximum. */
  | {
      readonly kind: "exponential";
      readonly baseMs: number;
      readonly maxMs: number;
      /** 0.25 draws from 75 % to 125 %. */
      readonly jitter: number;
    }
  /** The n-th step ± jitter, the last step for all further attempts; within the two bounds. */
  | {
      readonly kind: "steps";
      readonly stepsMs: readonly number[];
      readonly jitter: number;
      readonly minMs: number;
      readonly maxMs: number;
    };

/** Returns a number from 0 up to, but not including, 1. */
export type Random = () => number;

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;

/** For relays and short-lived mail: 5 s at first, about an hour at most. */
export const referenceRetry: RetryPolicy = {
  kind: "exponential",
  baseMs: 5 * second,
  maxMs: hour,
  jitter: 0.25,
};

/** For foreign servers: five minutes at first, three hours in the end. */
export const mtaRetry: RetryPolicy = {
  kind: "steps",
  stepsMs: [5 * minute, 10 * minute, 20 * minute, 40 * minute, 1.5 * hour, 3 * hour],
  jitter: 0.2,
  minMs: 5 * minute,
  maxMs: 3.6 * hour,
};

/** The shortest delay after a greylisting reply: such a server refuses a retry before that. */
export const GREYLIST_MIN_MS = 5 * minute;

/** The longest hint; a longer one counts as this. */
const maxHintMs = 24 * hour;

/**
 * The shortest hint: a shorter one is raised to this or, if that is less, to the policy's minimum.
 * No server may make a worker retry without pause.
 */
const minHintDelayMs = minute;

/**
 * Draws the delay after the `attempt`-th attempt of a cycle, in milliseconds.
 *
 * @param reply - A delay named in its text replaces the policy's delay, and the result is never
 *   shorter than that hint; a hint of seconds is raised to a minute or the policy's minimum, the
 *   smaller of the two. After a greylisting reply the delay is at least five minutes.
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
      : Math.max(hint, minHintMs(policy)) * (1 + 0.1 * random());
  const minMs = reply && isGreylisting(reply) ? GREYLIST_MIN_MS * (1 + 0.1 * random()) : 0;
  return Math.round(Math.max(delay, minMs));
}

function minHintMs(policy: RetryPolicy): number {
  return Math.min(minHintDelayMs, policy.kind === "exponential" ? policy.baseMs : policy.minMs);
}

/** Draws the delay of a policy after the `attempt`-th attempt. */
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
      const stepMs = stepsMs[index] ?? minMs;
      // The range is cut before the draw, so that no delay is more likely than another.
      const fromMs = within(stepMs * (1 - jitter), minMs, maxMs);
      const toMs = within(stepMs * (1 + jitter), minMs, maxMs);
      return fromMs + (toMs - fromMs) * random();
    }
  }
}

function within(value: number, min: number, max: number): number {
  return Math.min(Math.max(value, min), max);
}

const units: Record<string, number> = { s: second, m: minute, h: hour };

/** Reads the wait that a reply asks for, as in `try again in 300 seconds` or `retry=300`. */
export function hintMs(text: string): number | undefined {
  const tag = /\bretry=(\d{1,6})\b/i.exec(text);
  const words =
    /\b(?:again|retry|wait|come back)\b(?: (?:in|after|for|at least|another|about))* (\d{1,6}) ?(s|m|h)(?:ec(?:ond)?s?|in(?:ute)?s?|ours?)?\b/i.exec(
      text,
    );
  const amount = tag ?? words;
  if (!amount) return undefined;
  const ms = Number(amount[1]) * (units[(amount[2] ?? "s").toLowerCase()] ?? second);
  return ms > 0 ? Math.min(ms, maxHintMs) : undefined;
}

/** Tells whether a temporary refusal is greylisting, by the words that such servers use. */
export function isGreylisting({ code, text }: KeptReply): boolean {
  return code >= 400 && code < 500 && /gr[ae]y[- ]?list/i.test(text);
}
