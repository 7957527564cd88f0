/**
 * How long messages take from their 250 to their file in `new/`, which inotify(7) reports.
 *
 * A reply does not name the file of its message, so the nth 250 is paired with the nth file. Where
 * a server changes the order, single times are wrong, and the distribution changes at its edges
 * only. A file that appeared before its 250 counts as 0 ms.
 */
import { watch } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { VisibleResult } from "./load.ts";
import { quantile } from "./table.ts";

export interface Arrivals {
  /** To be called at the 250 to a message for this mailbox; `counts`: whether it is measured. */
  accepted(counts: boolean): void;
  /** Waits until all acknowledged messages have a file, at most `patienceMs`. */
  result(patienceMs: number): Promise<VisibleResult>;
}

export function watchNew(directory: string): Arrivals {
  const acknowledged: { readonly atMs: number; readonly counts: boolean }[] = [];
  const cameMs: number[] = [];
  const names = new Set<string>();
  const watcher = watch(directory, (_, name) => {
    if (name === null || names.has(name)) return;
    names.add(name);
    cameMs.push(performance.now());
  });
  return {
    accepted: (counts) => acknowledged.push({ atMs: performance.now(), counts }),
    async result(patienceMs) {
      const untilMs = performance.now() + patienceMs;
      while (cameMs.length < acknowledged.length && performance.now() < untilMs) await pause(10);
      watcher.close();
      const delaysMs = acknowledged.flatMap(({ atMs, counts }, position) => {
        const came = cameMs[position];
        return counts && came !== undefined ? [Math.max(0, came - atMs)] : [];
      });
      return {
        messages: delaysMs.length,
        p50Ms: quantile(delaysMs, 0.5),
        p99Ms: quantile(delaysMs, 0.99),
        maxMs: quantile(delaysMs, 1),
        missing: Math.max(0, acknowledged.length - cameMs.length),
      };
    },
  };
}
