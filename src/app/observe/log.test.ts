import assert from "node:assert/strict";
import { test } from "node:test";
import { buffered, openLog } from "./log.ts";

function linesOf(format: "json" | "text", write: (log: ReturnType<typeof openLog>) => void) {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  write(openLog({ level: "info", format, destination }));
  return lines;
}

test("a JSON line has time, level, message and fields", () => {
  const [line = ""] = linesOf("json", (log) => log.info({ size: 3 }, "accepted"));
  const { time, ...rest } = JSON.parse(line);
  assert.deepEqual(rest, { level: "info", size: 3, msg: "accepted" });
  assert.match(time, /^\d{4}-\d\d-\d\dT.*Z$/);
});

test("a text line has time, level, message and fields in this order", () => {
  const [line = ""] = linesOf("text", (log) =>
    log.warn({ from: "a@b.example", to: ["c@d", "e@f"], size: 3 }, "accepted"),
  );
  assert.match(line, /^\d\d:\d\d:\d\d warn {2}accepted from=a@b\.example to=c@d,e@f size=3\n$/);
});

test("text of a client cannot start a line, a field or a terminal sequence in the log", () => {
  for (const format of ["json", "text"] as const) {
    const hostile = "a\nb\u001b[2J c=d";
    const [line = ""] = linesOf(format, (log) => log.info({ from: hostile }, "accepted"));
    assert.equal(line.indexOf("\n"), line.length - 1, format);
    assert.ok(!line.includes("\u001b"), format);
    assert.ok(!/ c=d$/m.test(line), format);
  }
});

test("lines below the log level are not written", () => {
  assert.deepEqual(
    linesOf("json", (log) => log.debug("detail")),
    [],
  );
});

test("lines of one event-loop turn are written together, or at once with a warning", async () => {
  const writes: string[] = [];
  const destination = buffered({ write: (lines) => void writes.push(lines) });
  const log = openLog({ level: "info", format: "text", destination });
  const words = () => writes.map((lines) => lines.replace(/^.{9}/gm, "").replaceAll(/ +/g, " "));
  log.info("one");
  log.info("two");
  assert.deepEqual(words(), []);
  log.warn("three");
  assert.deepEqual(words(), ["info one\ninfo two\nwarn three\n"]);
  log.info("four");
  log.info("five");
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(words().slice(1), ["info four\ninfo five\n"]);
});
