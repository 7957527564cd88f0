/**
 * Mail that can be told from any other mail: its number stands in it, and the number and the seed
 * of the run determine every octet.
 */
import { SeededRandom } from "../../support/seeded-random.ts";

/** Mostly around a kilobyte, some of one line, some of many blocks, now and then a large one. */
function textLength(serial: number): number {
  if (serial % 61 === 0) return 150_000;
  if (serial % 7 === 0) return 9_000 + (serial % 5_000);
  return 1 + ((serial * 37) % 1_500);
}

const made = new Map<string, Buffer>();

/** The same octets every time; not to be changed. */
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
 * Finds the number of the message a file holds, whole and with nothing behind it; above it trace
 * fields may stand. Undefined when it is none of ours.
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
