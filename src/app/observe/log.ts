/**
 * The log: one JSON object a line for programs, or one readable line for a person at a terminal.
 *
 * Lines go to standard error, so that what a command prints on standard output stays its result. Those
 * of one turn of the event loop are written together; a warning or worse is written at once, with all
 * before it, and so is the rest when the process ends: the last line before a crash is the one that
 * matters.
 */
import { type DestinationStream, type Logger, pino } from "pino";

export type { Logger } from "pino";

export interface LogOptions {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly format: "json" | "text";
  /** Where complete lines go. @defaultValue standard error */
  readonly destination?: DestinationStream;
}

/** Opens a log. */
export function openLog({ level, format, destination }: LogOptions): Logger {
  const lines = destination ?? gathered(pino.destination({ dest: 2, sync: true }));
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

/** What pino tells a stream that asks for it, before each line. */
interface LevelledStream extends DestinationStream {
  lastLevel: number;
}

const asksForLevel = { [Symbol.for("pino.metadata")]: true, lastLevel: 0 };

/** Hands on the lines of one turn of the event loop together, and what is urgent at once. */
export function gathered(destination: DestinationStream): LevelledStream {
  let waiting = "";
  const handOn = () => {
    if (waiting === "") return;
    const lines = waiting;
    waiting = "";
    destination.write(lines);
  };
  process.on("exit", handOn);
  return {
    ...asksForLevel,
    write(line) {
      if (waiting === "" && this.lastLevel < pino.levels.values.warn!) setImmediate(handOn);
      waiting += line;
      if (this.lastLevel >= pino.levels.values.warn!) handOn();
    },
  };
}

function readableLines(lines: DestinationStream): LevelledStream {
  return {
    ...asksForLevel,
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

/** A value without what could be taken for the next field, a new line or a terminal's command. */
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
