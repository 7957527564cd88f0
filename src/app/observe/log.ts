/**
 * The log of `serve` and `worker`: one JSON object a line for programs, or one readable line for a
 * person at a terminal.
 *
 * Lines go to standard error, because standard output has the result of a command. The lines of one
 * turn of the event loop are written together. A warning or worse is written at once, with all
 * lines before it. The end of the process writes the lines that still wait, because the last lines
 * before a crash matter most.
 */
import { type DestinationStream, type Logger, pino } from "pino";

export type { Logger } from "pino";

export interface LogOptions {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly format: "json" | "text";
  /** Receives complete lines, each with its newline. @defaultValue standard error */
  readonly destination?: DestinationStream | undefined;
}

/** Opens a log. */
export function openLog({ level, format, destination }: LogOptions): Logger {
  const lines = destination ?? buffered(pino.destination({ dest: 2, sync: true }));
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    format === "json" ? lines : readableLines(lines),
  );
}

/** A stream on which pino sets the level of each line before it writes the line. */
interface LevelledStream extends DestinationStream {
  lastLevel: number;
}

const warn = pino.levels.values.warn ?? 40;

const levelled = { [Symbol.for("pino.metadata")]: true, lastLevel: 0 };

/** Writes the lines of one turn of the event loop together, and warnings at once. */
export function buffered(destination: DestinationStream): LevelledStream {
  let waiting = "";
  const flush = () => {
    if (waiting === "") return;
    const lines = waiting;
    waiting = "";
    destination.write(lines);
  };
  process.on("exit", flush);
  return {
    ...levelled,
    write(line) {
      if (waiting === "" && this.lastLevel < warn) setImmediate(flush);
      waiting += line;
      if (this.lastLevel >= warn) flush();
    },
  };
}

function readableLines(lines: DestinationStream): LevelledStream {
  return {
    ...levelled,
    write(line) {
      if ("lastLevel" in lines) lines.lastLevel = this.lastLevel;
      lines.write(readable(line));
    },
  };
}

/** Turns one JSON line into `12:30:05 info  accepted from=a@b.example size=512`. */
export function readable(line: string): string {
  const { time, level, msg, ...facts } = JSON.parse(line) as Record<string, unknown>;
  const words = Object.entries(facts).map(([name, value]) => `${name}=${plain(value)}`);
  const at = String(time).slice(11, 19);
  return `${[at, String(level).padEnd(5), msg, ...words].join(" ")}\n`;
}

/** The text of a value, which cannot pass for another field, a new line or a terminal command. */
function plain(value: unknown): string {
  const items = Array.isArray(value) ? value : [value];
  return items
    .map((item) => {
      const text = typeof item === "string" ? item : JSON.stringify(item);
      return /^[\p{L}\p{N}\p{P}\p{S}]+$/u.test(text) && !/["=]/.test(text)
        ? text
        : JSON.stringify(text);
    })
    .join(",");
}
