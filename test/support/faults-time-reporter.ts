/**
 * A test reporter that prints, at the end of the run, how long the fault tests of the outbox took,
 * summed over their files. The limit is two minutes, so that `npm test` can run them every time.
 */
import { relative, sep } from "node:path";
import type { TestEvent } from "node:test/reporters";

const folder = ["test", "outbox", "faults", ""].join(sep);
const maxSeconds = 120;

// biome-ignore lint/style/noDefaultExport: the test runner takes a reporter from the default export.
export default async function* faultsTimeReporter(
  source: AsyncIterable<TestEvent>,
): AsyncGenerator<string> {
  let files = 0;
  let seconds = 0;
  for await (const event of source) {
    if (event.type !== "test:summary") continue;
    const { file, duration_ms: durationMs } = event.data;
    if (file === undefined || !relative(process.cwd(), file).startsWith(folder)) continue;
    files += 1;
    seconds += durationMs / 1000;
  }
  if (files === 0) return;
  const verdict = seconds <= maxSeconds ? "of" : "MORE THAN THE";
  yield `\nFault tests of the outbox, ${files} files: ${seconds.toFixed(0)} s ${verdict} ${maxSeconds} s.\n`;
}
