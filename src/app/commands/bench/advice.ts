/**
 * The advice of `postbag bench`: a function from figures (bench.ts) to settings, without state.
 *
 * The journal, and a limit other than its default, are advised only where a rate or a wait is at
 * least 15% better with them, so that noise between runs does not become advice.
 */
import type { BenchCommit, BenchMeasured } from "./load.ts";

/** A case of the bench: a commit mode, a load, and the limits that differ from their defaults. */
export interface BenchCase {
  readonly commit: BenchCommit;
  /** Clients that deliver at the same time, each one message after the other. */
  readonly callers: number;
  readonly mailboxes: number;
  readonly maxBatch?: number | undefined;
  readonly maxConcurrentFlushes?: number | undefined;
}

export interface BenchRow extends BenchCase, BenchMeasured {}

export interface BenchFigures {
  /** Time of one write of 4 KiB and its flush. */
  readonly flush: { readonly p50Ms: number; readonly p99Ms: number };
  readonly rows: readonly BenchRow[];
}

export interface Advice {
  readonly commit: BenchCommit;
  readonly maxBatch: number;
  readonly maxConcurrentFlushes: number;
  /** Absent when `commit` is "synced". */
  readonly publishWithinMs?: number | undefined;
  /** A sentence about the disk, then one for each setting above. */
  readonly reasons: readonly string[];
}

export const manyMailboxes = 64;
export const manyCallers = 64;
/** More callers than fit into one batch of the default size. */
export const crowd = 256;

const defaults = { maxBatch: 64, maxConcurrentFlushes: 2, publishWithinMs: 250 } as const;
/** The factor by which the rate or the wait must be better to advise another setting. */
const worthChangingFor = 1.15;

const busy = { callers: manyCallers, mailboxes: manyMailboxes } as const;
const crowded = { callers: crowd, mailboxes: manyMailboxes } as const;
const alone = { callers: 1, mailboxes: 1 } as const;

/** The cases that {@link adviceFor} compares. */
export const benchCases: readonly BenchCase[] = (["synced", "journal"] as const).flatMap(
  (commit) => [
    ...[1, manyMailboxes].flatMap((mailboxes) =>
      [1, 8, manyCallers].map((callers) => ({ commit, callers, mailboxes })),
    ),
    { commit, ...busy, maxConcurrentFlushes: 1 },
    { commit, ...crowded },
    { commit, ...crowded, maxBatch: crowd },
  ],
);

/** Advises by the figures. @throws {Error} when they lack one of {@link benchCases}. */
export function adviceFor({ flush, rows }: BenchFigures): Advice {
  const find = (wanted: BenchCase): BenchRow => {
    const found = rows.find(
      (row) =>
        row.commit === wanted.commit &&
        row.callers === wanted.callers &&
        row.mailboxes === wanted.mailboxes &&
        row.maxBatch === wanted.maxBatch &&
        row.maxConcurrentFlushes === wanted.maxConcurrentFlushes,
    );
    if (found === undefined) throw new Error(`not measured: ${JSON.stringify(wanted)}`);
    return found;
  };
  const { commit, reason } = commitFor(find);
  const flushes = flushesFor(find, commit);
  const batch = batchFor(find, commit);
  const publish = commit === "journal" ? publishFor(find) : undefined;
  return {
    commit,
    maxBatch: batch.value,
    maxConcurrentFlushes: flushes.value,
    ...(publish && { publishWithinMs: publish.value }),
    reasons: [
      flushSentence(flush.p50Ms),
      reason,
      batch.reason,
      flushes.reason,
      ...(publish ? [publish.reason] : []),
    ],
  };
}

type Find = (wanted: BenchCase) => BenchRow;

interface Choice {
  readonly value: number;
  readonly reason: string;
}

function flushSentence(p50Ms: number): string {
  const time = `One small write and its flush take ${ms(p50Ms)} on this disk`;
  if (p50Ms < 1) return `${time}: it is quick, and much depends on the processor.`;
  return `${time}, so one client that waits for each answer gets at most ${whole(1_000 / p50Ms)} messages a second.`;
}

function commitFor(find: Find): { readonly commit: BenchCommit; readonly reason: string } {
  const rateOf = (commit: BenchCommit) => find({ commit, ...busy }).perSecond;
  const waitOf = (commit: BenchCommit) => find({ commit, ...alone }).p50Ms;
  const load = `${busy.callers} clients and ${busy.mailboxes} mailboxes`;
  const rates = `${whole(rateOf("journal"))} messages a second with the journal and ${whole(rateOf("synced"))} without, for ${load}`;
  const waits = `a lone message waits ${ms(waitOf("journal"))} with it and ${ms(waitOf("synced"))} without`;
  const isFaster = rateOf("journal") >= rateOf("synced") * worthChangingFor;
  const isQuicker = waitOf("journal") * worthChangingFor <= waitOf("synced");
  const isSlower = rateOf("journal") * worthChangingFor <= rateOf("synced");
  if (isFaster || (isQuicker && !isSlower)) {
    return { commit: "journal", reason: `Journal: ${rates}; ${waits}.` };
  }
  return {
    commit: "synced",
    reason: `Synced: the journal gains too little here (${rates}; ${waits}), and without it there is nothing to recover after a crash.`,
  };
}

function flushesFor(find: Find, commit: BenchCommit): Choice {
  const two = find({ commit, ...busy }).perSecond;
  const one = find({ commit, ...busy, maxConcurrentFlushes: 1 }).perSecond;
  const rates = `${whole(one)} messages a second with one batch under way at once, ${whole(two)} with two`;
  if (one >= two * worthChangingFor) {
    return { value: 1, reason: `One batch at a time: ${rates}. Batches hold each other up here.` };
  }
  const value = defaults.maxConcurrentFlushes;
  return { value, reason: `Two batches at once, the default: ${rates}.` };
}

function batchFor(find: Find, commit: BenchCommit): Choice {
  const usual = find({ commit, ...crowded }).perSecond;
  const large = find({ commit, ...crowded, maxBatch: crowd }).perSecond;
  const rates = `${crowd} clients get ${whole(large)} messages a second through in batches of up to ${crowd}, ${whole(usual)} in batches of up to ${defaults.maxBatch}`;
  if (large >= usual * worthChangingFor) {
    return { value: crowd, reason: `Larger batches, if you have so many clients: ${rates}.` };
  }
  const value = defaults.maxBatch;
  return { value, reason: `Batches of up to ${value}, the default: ${rates}.` };
}

function publishFor(find: Find): Choice {
  const { publishWithinMs: step } = defaults;
  const { p99Ms } = find({ commit: "journal", ...busy }).visible;
  const seen = `under full load 99 of 100 messages were visible ${ms(p99Ms)} after they were durable`;
  if (p99Ms <= step) {
    return { value: step, reason: `Publishing within ${step} ms, the default: ${seen}.` };
  }
  const value = Math.ceil(p99Ms / step) * step;
  return {
    value,
    reason: `Publishing within ${value} ms: ${seen}, so ${step} ms is more than this disk can promise, and larger rounds cost it less.`,
  };
}

const whole = (figure: number) => Math.round(figure).toLocaleString("en");
const ms = (figure: number) => `${figure.toFixed(figure < 10 ? 1 : 0)} ms`;
