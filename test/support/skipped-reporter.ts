/**
 * A test reporter that lists, at the end of the run, the tests that this machine could not run, and
 * why. A skipped test is an unchecked claim, so the reporter names each, and does not only count.
 */
import type { TestEvent } from "node:test/reporters";

// biome-ignore lint/style/noDefaultExport: the test runner takes a reporter from the default export.
export default async function* skippedReporter(
  source: AsyncIterable<TestEvent>,
): AsyncGenerator<string> {
  const skipped: string[] = [];
  for await (const event of source) {
    if (event.type !== "test:pass" && event.type !== "test:fail") continue;
    const { skip, name } = event.data;
    if (skip === undefined || skip === false) continue;
    skipped.push(`  ${name}${typeof skip === "string" && skip ? `: ${skip}` : ""}`);
  }
  yield skipped.length === 0
    ? "\nNothing was skipped.\n"
    : `\nSkipped, because this machine cannot run them (${skipped.length}):\n${skipped.join("\n")}\n`;
}
