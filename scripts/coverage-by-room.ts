/**
 * Sums an lcov report up by room and holds the rooms that store mail to their share.
 *
 * @see geninfo(1) for the format: SF starts a file, LF counts its lines, LH those that ran.
 */
import { readFileSync } from "node:fs";

/** Least share of lines covered, in percent. */
const least: Readonly<Record<string, number>> = { batcher: 95, maildir: 95, delivery: 95 };

const rooms = new Map<string, { lines: number; hit: number }>();
let room = { lines: 0, hit: 0 };
for (const line of readFileSync(process.argv[2] ?? "", "utf8").split("\n")) {
  const [field, value = ""] = line.split(":");
  if (field === "SF") {
    const name = /(?:^|\/)src\/([^/]+)\//.exec(value)?.[1] ?? "elsewhere";
    room = rooms.get(name) ?? { lines: 0, hit: 0 };
    rooms.set(name, room);
  } else if (field === "LF") room.lines += Number(value);
  else if (field === "LH") room.hit += Number(value);
}

console.log("\nroom        lines covered");
for (const [name, { lines, hit }] of [...rooms].sort()) {
  const share = (100 * hit) / lines;
  const wanted = least[name];
  const isShort = wanted !== undefined && share < wanted;
  if (isShort) process.exitCode = 1;
  const remark = isShort ? `  less than the ${wanted} % this room must have` : "";
  console.log(
    `${name.padEnd(10)} ${String(hit).padStart(5)} of ${String(lines).padStart(5)}  ${share.toFixed(1).padStart(5)} %${remark}`,
  );
}
for (const name of Object.keys(least)) {
  if (rooms.has(name)) continue;
  console.log(`${name}: no line of it ran`);
  process.exitCode = 1;
}
