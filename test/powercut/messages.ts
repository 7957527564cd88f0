/**
 * Mail that can be told from any other mail: its number stands in it, and the number and the seed of
 * the run determine every octet.
 */
import { seededRandom } from "../support/recorded-disk/index.ts";

/** Mostly around a kilobyte, some of one line, some of many blocks, now and then a large one. */
function bodyLength(serial: number): number {
  if (serial % 61 === 0) return 150_000;
  if (serial % 7 === 0) return 9_000 + (serial % 5_000);
  return 1 + ((serial * 37) % 1_500);
}

export function messageBody(seed: number, serial: number): Buffer {
  const header = Buffer.from(`Subject: ${serial}\nX-Run: ${seed}\n\n`);
  const random = seededRandom(seed * 1_000_003 + serial);
  const words = new Uint32Array(Math.ceil(bodyLength(serial) / 4));
  for (let index = 0; index < words.length; index++) words[index] = random() * 2 ** 32;
  const text = Buffer.from(words.buffer)
    .toString("base64")
    .slice(0, bodyLength(serial) - 1);
  return Buffer.concat([header, Buffer.from(`${text}\n`)]);
}

/** The number of the message these octets are, all of them; undefined when they are none of ours. */
export function serialOf(seed: number, bytes: Buffer): number | undefined {
  const found = /^Subject: (\d+)\n/.exec(bytes.toString("latin1", 0, 40));
  const serial = Number(found?.[1]);
  return found && messageBody(seed, serial).equals(bytes) ? serial : undefined;
}
