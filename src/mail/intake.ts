/**
 * Converts an incoming message to its stored form while it streams in: line endings are converted
 * once, `Return-Path` fields of earlier hosts are removed, and facts that the server needs are
 * noted. No I/O; at most one header line is in memory.
 *
 * Invariant: the result does not depend on the boundaries of the chunks.
 *
 * In a message CR and LF only occur together (RFC 5321 §2.3.8). Hosts that treat a bare one
 * differently can be made to see two messages where there is one. So a message with a bare one is
 * refused (`"reject"`: its output must not be stored), or every CR, LF and CRLF becomes one line
 * ending.
 *
 * @see RFC 5321 §4.4 (a host that adds Return-Path removes others), §6.3 (loops by counting
 *   Received).
 */
import { Buffer } from "node:buffer";
import type { LineEndings } from "./trace.ts";

export interface MessageIntakeOptions {
  /** Line endings of the stored form. @defaultValue "lf" */
  readonly lineEndings?: LineEndings | undefined;
  /** @defaultValue "reject" */
  readonly bareNewlines?: "reject" | "normalise" | undefined;
}

const CR = 13;
const LF = 10;
/** A header line is examined as a whole up to this length, the maximum of RFC 5322 §2.1.1. */
const maxHeaderLineBytes = 1_000;
/** Further `Delivered-To` fields are not noted: no path has so many hosts. */
const maxDeliveredTo = 100;
const nothing: Uint8Array = Buffer.alloc(0);

export class MessageIntake {
  /** Bytes received so far. */
  received = 0;
  /** Bytes returned so far. */
  size = 0;
  /** `Received` fields in the header section: hosts that have handled the message. */
  receivedFields = 0;
  /** Values of the `Delivered-To` fields in the header section. */
  readonly deliveredTo: string[] = [];
  /** Whether a CR without LF or an LF without CR was found. */
  hasBareNewline = false;

  readonly #crlf: boolean;
  readonly #normalise: boolean;
  #carry: Buffer | undefined;
  #inHeader = true;
  /** Whether the present line began in an earlier chunk and was returned in part. */
  #inLine = false;
  /** Whether the present header field stays in the message. */
  #stays = true;

  constructor({ lineEndings = "lf", bareNewlines = "reject" }: MessageIntakeOptions = {}) {
    this.#crlf = lineEndings === "crlf";
    this.#normalise = bareNewlines === "normalise";
  }

  /** Takes the next bytes and returns the bytes that are ready to be stored, perhaps none. */
  push(chunk: Uint8Array): Uint8Array {
    this.received += chunk.length;
    if (this.hasBareNewline && !this.#normalise) return nothing;
    return this.#convert(this.#withCarry(chunk), false);
  }

  /** Ends the message and returns its last bytes. */
  end(): Uint8Array {
    if (!this.#carry || (this.hasBareNewline && !this.#normalise)) return nothing;
    return this.#convert(this.#withCarry(nothing), true);
  }

  #withCarry(chunk: Uint8Array): Buffer {
    const carry = this.#carry;
    this.#carry = undefined;
    if (carry) return Buffer.concat([carry, chunk]);
    if (chunk instanceof Buffer) return chunk;
    return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  }

  #convert(input: Buffer, isLast: boolean): Uint8Array {
    // Only bare newlines make the stored form longer, and then at most twice as long.
    const output = Buffer.allocUnsafe(
      this.#crlf && this.#normalise ? 2 * input.length : input.length,
    );
    let filled = 0;
    let start = 0;
    let cr = -2; // The next CR and LF at or behind `start`; -1 when there is none.
    let lf = -2;
    while (start < input.length) {
      if (!this.#inHeader && !this.#crlf) break;
      if (cr !== -1 && cr < start) cr = input.indexOf(CR, start);
      if (lf !== -1 && lf < start) lf = input.indexOf(LF, start);
      if (cr === -1 && lf === -1) break;
      const end = cr === -1 || (lf !== -1 && lf < cr) ? lf : cr;
      const whole = end === cr && lf === cr + 1;
      if (!whole) {
        // The LF of a final CR may be in the next chunk.
        if (end === cr && end === input.length - 1 && !isLast) break;
        this.hasBareNewline = true;
        if (!this.#normalise) return nothing;
      }
      if (this.#isStored(input, start, end)) {
        filled += input.copy(output, filled, start, end);
        if (this.#crlf) output[filled++] = CR;
        output[filled++] = LF;
      }
      this.#inLine = false;
      start = whole ? end + 2 : end + 1;
    }
    const isBody = !this.#inHeader && !this.#crlf;
    filled = isBody
      ? this.#convertBody(input, start, isLast, output, filled)
      : filled + this.#takeRest(input, start, isLast, output, filled);
    if (this.hasBareNewline && !this.#normalise) return nothing;
    this.size += filled;
    return output.subarray(0, filled);
  }

  /**
   * Converts a body to LF, the common case and most bytes of a message: one search for each line.
   * Five positional parameters here and in `#takeRest`, because both run for every chunk.
   */
  #convertBody(input: Buffer, from: number, isLast: boolean, output: Buffer, at: number): number {
    let start = from;
    let filled = at;
    for (let lf = input.indexOf(LF, start); lf >= 0; lf = input.indexOf(LF, start)) {
      const isWhole = lf > start && input[lf - 1] === CR;
      if (!isWhole) this.hasBareNewline = true;
      filled += input.copy(output, filled, start, isWhole ? lf - 1 : lf);
      output[filled++] = LF;
      start = lf + 1;
    }
    const endsInCr = !isLast && start < input.length && input[input.length - 1] === CR;
    const end = endsInCr ? input.length - 1 : input.length;
    if (endsInCr) this.#carry = input.subarray(end);
    filled += input.copy(output, filled, start, end);
    // Every CR of a CRLF is removed by now, so each remaining one is bare.
    for (let cr = output.indexOf(CR, at); cr >= 0 && cr < filled; cr = output.indexOf(CR, cr)) {
      this.hasBareNewline = true;
      output[cr] = LF;
    }
    return filled;
  }

  /** Returns an unfinished line, or carries it over to the next chunk. */
  #takeRest(input: Buffer, start: number, isLast: boolean, output: Buffer, filled: number): number {
    const length = input.length - start;
    if (length === 0) return 0;
    const mayGrow = !isLast && this.#inHeader && !this.#inLine && length < maxHeaderLineBytes;
    const endsInCr = !isLast && input[input.length - 1] === CR;
    const end = mayGrow ? start : endsInCr ? input.length - 1 : input.length;
    if (end < input.length) this.#carry = input.subarray(end);
    if (end === start) return 0;
    const isStored = this.#isStored(input, start, end);
    this.#inLine = true;
    return isStored ? input.copy(output, filled, start, end) : 0;
  }

  /** Whether the line, or piece of a line, from `start` to `end` stays in the message. */
  #isStored(input: Buffer, start: number, end: number): boolean {
    if (!this.#inHeader || this.#inLine) return this.#stays;
    if (start === end) {
      this.#inHeader = false;
      this.#stays = true;
      return true;
    }
    switch (input[start]) {
      case 0x20: // Space and tab continue the field before (RFC 5322 §2.2.3).
      case 0x09:
        return this.#stays;
      case 0x52: // R
      case 0x72:
      case 0x44: // D
      case 0x64:
        this.#stays = this.#note(
          input.toString("latin1", start, Math.min(end, start + maxHeaderLineBytes)),
        );
        return this.#stays;
      default:
        this.#stays = true;
        return true;
    }
  }

  /** Examines a field that begins with R or D; returns whether it stays in the message. */
  #note(line: string): boolean {
    const [, name, value = ""] =
      /^(return-path|received|delivered-to)[ \t]*:(.*)/is.exec(line) ?? [];
    switch (name?.toLowerCase()) {
      case "return-path":
        return false;
      case "received":
        this.receivedFields += 1;
        return true;
      case "delivered-to":
        if (this.deliveredTo.length < maxDeliveredTo) this.deliveredTo.push(value.trim());
        return true;
      default:
        return true;
    }
  }
}
