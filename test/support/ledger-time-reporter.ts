/**
 * A test reporter that says, at the end, how long the ledger of faults took: all of its files together, as
 * if one had run after the other. It is to stay under five minutes, so that it runs with every test.
 */
import { relative, sep } from "node:path";
import type { TestEvent } from "node:test/reporters";

const ledger = ["test", "outbox", "faults", ""].join(sep);
const mostSeconds = 300;

// biome-ignore lint/style/noDefaultExport: the test runner takes a reporter from the default export.
export default async function* ledgerTimeReporter(
  source: AsyncIterable<TestEvent>,
): AsyncGenerator<string> {
  let files = 0;
  let seconds = 0;
  for await (const event of source) {
    if (event.type !== "test:summary") continue;
    const { file, duration_ms: durationMs } = event.data;
    if (file === undefined || !relative(process.cwd(), file).startsWith(ledger)) continue;
    files += 1;
    seconds += durationMs / 1000;
  }
  if (files === 0) return;
  const verdict = seconds <= mostSeconds ? "of" : "MORE THAN THE";
  yield `\nThe ledger of faults, ${files} files: ${seconds.toFixed(0)} s ${verdict} ${mostSeconds} s.\n`;
}
