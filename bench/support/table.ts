/** Quantiles and medians of figures, and a Markdown table of them. */

/** The value below which a share `q` of the figures lies (nearest rank); 0 without figures. */
export function quantile(figures: readonly number[], q: number): number {
  const sorted = figures.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? 0;
}

/** The middle figure in ascending order, or the mean of the two middle ones. */
export function median(figures: readonly number[]): number {
  const sorted = figures.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/** The median of one figure of several runs. */
export function medianOf<T>(runs: readonly T[], figure: (run: T) => number): number {
  return median(runs.map(figure));
}

/** Prints a Markdown table with aligned columns: texts to the left, figures to the right. */
export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const columns = head.map((title, at) => [title, ...rows.map((row) => row[at] ?? "")]);
  const widths = columns.map((cells) => Math.max(3, ...cells.map((cell) => cell.length)));
  const toRight = columns.map((cells) => cells.slice(1).every((cell) => /^[\d,.–*]*$/.test(cell)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => (toRight[at] ? cell.padStart(widths[at]!) : cell.padEnd(widths[at]!))).join(" | ")} |`;
  console.log(line(head));
  console.log(
    `|${widths.map((width, at) => (toRight[at] ? `${"-".repeat(width + 1)}:` : "-".repeat(width + 2))).join("|")}|`,
  );
  for (const row of rows) console.log(line(row));
}
