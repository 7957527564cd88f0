/**
 * Messages that identify themselves: each contains its number, and the number and the seed of the
 * run determine every byte.
 */
import { SeededRandom } from "../../support/seeded-random.ts";

/** Length of the text in bytes: up to 1,500, for one message in 7 up to 14,000, in 61 150,000. */
function textLength(serial: number): number {
  if (serial % 61 === 0) return 150_000;
  if (serial % 7 === 0) return 9_000 + (serial % 5_000);
  return 1 + ((serial * 37) % 1_500);
}

const made = new Map<string, Buffer>();

/**
 * A message: the same bytes for the same seed and number. The caller must not change the buffer.
 */
export function messageBody(seed: number, serial: number): Buffer {
  const key = `${seed} ${serial}`;
  const body = made.get(key) ?? makeBody(seed, serial);
  made.set(key, body);
  return body;
}

function makeBody(seed: number, serial: number): Buffer {
  const random = new SeededRandom(seed * 1_000_003 + serial);
  const words = Uint32Array.from({ length: textLength(serial) / 4 + 1 }, () =>
    random.below(2 ** 32),
  );
  const text = Buffer.from(words.buffer).toString("base64").slice(0, textLength(serial));
  const lines = text.match(/.{1,76}/g)!.join("\n");
  return Buffer.from(`Subject: ${serial}\nX-Run: ${seed}\n\n${lines}\n`);
}

/**
 * The number of the message in a file that has the whole message, with or without trace fields
 * before the message, and nothing after. Undefined for any other content.
 */
export function serialOf(seed: number, file: Buffer): number | undefined {
  const head = file.toString("latin1", 0, 2_000);
  const found =
    /^(?:(?:Return-Path|Delivered-To|Received): .*\n(?:[ \t].*\n)*)*Subject: (\d+)\n/.exec(head);
  if (found === null) return undefined;
  const serial = Number(found[1]);
  const start = found[0].lastIndexOf("Subject: ");
  return messageBody(seed, serial).equals(file.subarray(start)) ? serial : undefined;
}
