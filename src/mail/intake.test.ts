import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MessageIntake, type MessageIntakeOptions } from "./intake.ts";

interface Result {
  readonly stored: string;
  readonly intake: MessageIntake;
}

function take(message: string | readonly string[], options?: MessageIntakeOptions): Result {
  const intake = new MessageIntake(options);
  const stored: Uint8Array[] = [];
  for (const chunk of [message].flat()) stored.push(intake.push(Buffer.from(chunk, "latin1")));
  stored.push(intake.end());
  return { stored: Buffer.concat(stored).toString("latin1"), intake };
}

/** Cuts a text at the given places. */
function cut(text: string, places: readonly number[]): string[] {
  const at = [...places].map((place) => place % (text.length + 1)).sort((a, b) => a - b);
  return [...at, text.length].map((end, index) => text.slice(at[index - 1] ?? 0, end));
}

const piece = fc.constantFrom(
  "\r\n",
  "\r\n\r\n",
  "\r",
  "\n",
  " ",
  "\t",
  "x",
  ".",
  "Received: by a\r\n",
  "RECEIVED : b\r\n",
  "Return-Path: <a@b>\r\n",
  "return-path:\r\n c\r\n\td\r\n",
  "Delivered-To: bob@example.com\r\n",
  "Subject: hello\r\n",
  "R",
  "D",
  "Retur",
  "n-Path: e\r\n",
  "\x80\xff",
  "y".repeat(1_100),
);
const message = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));
const places = fc.array(fc.nat(), { maxLength: 8 });
const options = fc.record({
  lineEndings: fc.constantFrom("lf" as const, "crlf" as const),
  bareNewlines: fc.constantFrom("reject" as const, "normalise" as const),
});

test("the stored message and its facts do not depend on the boundaries of chunks", () => {
  fc.assert(
    fc.property(message, places, options, (text, cuts, how) => {
      const whole = take(text, how);
      const parts = take(cut(text, cuts), how);
      assert.equal(parts.intake.hasBareNewline, whole.intake.hasBareNewline);
      // The output of a refused message must not be stored.
      if (whole.intake.hasBareNewline && how.bareNewlines === "reject") return;
      assert.equal(parts.stored, whole.stored);
      assert.equal(parts.intake.size, whole.stored.length);
      assert.equal(parts.intake.received, text.length);
      assert.equal(parts.intake.receivedFields, whole.intake.receivedFields);
      assert.deepEqual(parts.intake.deliveredTo, whole.intake.deliveredTo);
    }),
    { numRuns: 2_000 },
  );
});

test("only line endings and Return-Path fields are changed", () => {
  fc.assert(
    fc.property(message, options, (text, how) => {
      const { stored, intake } = take(text, how);
      if (intake.hasBareNewline && how.bareNewlines === "reject") return;
      const plain = withoutReturnPath(text.replace(/\r\n|\r/g, "\n"));
      assert.equal(stored, how.lineEndings === "crlf" ? plain.replaceAll("\n", "\r\n") : plain);
    }),
    { numRuns: 2_000 },
  );
});

/** The same rule in its simplest form. */
function withoutReturnPath(text: string): string {
  const lines: string[] = text.match(/[^\n]*\n|[^\n]+$/g) ?? [];
  const blank = lines.indexOf("\n");
  const header = blank < 0 ? lines : lines.slice(0, blank);
  let stays = true;
  const remaining = header.filter((line) => {
    if (!/^[ \t]/.test(line)) stays = !/^return-path[ \t]*:/i.test(line);
    return stays;
  });
  return [...remaining, ...(blank < 0 ? [] : lines.slice(blank))].join("");
}

test("a bare CR or LF is found at any position", () => {
  fc.assert(
    fc.property(message, places, (text, cuts) => {
      const { hasBareNewline } = take(cut(text, cuts)).intake;
      assert.equal(hasBareNewline, /\r(?!\n)|(?<!\r)\n/.test(text));
    }),
    { numRuns: 2_000 },
  );
});

test("a normalised message has CR and LF only as line endings of the stored form", () => {
  const binary = fc.string({ unit: fc.constantFrom("\r", "\n", "a", "."), maxLength: 40 });
  fc.assert(
    fc.property(binary, places, (text, cuts) => {
      const lf = take(cut(text, cuts), { bareNewlines: "normalise" }).stored;
      const crlf = take(cut(text, cuts), { bareNewlines: "normalise", lineEndings: "crlf" }).stored;
      assert.doesNotMatch(lf, /\r/);
      assert.doesNotMatch(crlf, /\r(?!\n)|(?<!\r)\n/);
      assert.equal(crlf.replaceAll("\r\n", "\n"), lf);
    }),
  );
});

test("after the first bare newline no more bytes of a refused message are returned", () => {
  const intake = new MessageIntake();
  intake.push(Buffer.from("a\nb\r\n"));
  assert.equal(intake.push(Buffer.alloc(100_000, "x")).length, 0);
  assert.equal(intake.end().length, 0);
  assert.equal(intake.received, 100_005);
});

test("fields are counted in the header section only", () => {
  const { intake } = take(
    "Received: a\r\nreceived: b\r\nX: Received: no\r\n Received: no\r\n\r\nReceived: c\r\n",
  );
  assert.equal(intake.receivedFields, 2);
});

test("a Return-Path in the body stays", () => {
  assert.equal(take("A: b\r\n\r\nReturn-Path: <x>\r\n").stored, "A: b\n\nReturn-Path: <x>\n");
});

test("at most 100 addresses of Delivered-To are noted", () => {
  assert.deepEqual(take("Delivered-To:  bob@example.com \r\n\r\n").intake.deliveredTo, [
    "bob@example.com",
  ]);
  assert.equal(take("Delivered-To: a@b\r\n".repeat(200)).intake.deliveredTo.length, 100);
});

test("a header line of any length is passed on with a bounded buffer", () => {
  const intake = new MessageIntake();
  let stored = 0;
  for (let index = 0; index < 100; index += 1) {
    stored += intake.push(Buffer.alloc(1_000, "R")).length;
    assert.ok(intake.received - stored <= 1_000);
  }
});
