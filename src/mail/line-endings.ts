/**
 * The line endings of mail on the wire: CRLF, and no CR or LF on its own (RFC 5321 §2.3.8).
 *
 * Messages arrive through {@link MessageIntake}, piece by piece; this is for whole messages in
 * memory.
 */
const CR = 13;
const LF = 10;

/**
 * Makes every CR, LF and CRLF a CRLF.
 *
 * @returns The same object if nothing changes, else a copy of exact size with a buffer of its own.
 */
export function withCrlf(bytes: Uint8Array): Uint8Array {
  const source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let count = 0;
  forEachBareEnding(source, () => {
    count += 1;
  });
  if (count === 0) return bytes;
  const copy = Buffer.allocUnsafeSlow(source.length + count);
  let from = 0;
  let filled = 0;
  forEachBareEnding(source, (at) => {
    filled += source.copy(copy, filled, from, at);
    copy[filled] = CR;
    copy[filled + 1] = LF;
    filled += 2;
    from = at + 1;
  });
  source.copy(copy, filled, from);
  return copy;
}

/** Calls `found` with the position of each CR and LF that is no part of a CRLF, in order. */
function forEachBareEnding(source: Buffer, found: (at: number) => void): void {
  let lf = source.indexOf(LF);
  let cr = source.indexOf(CR);
  while (lf >= 0 || cr >= 0) {
    const isPair = cr >= 0 && cr + 1 === lf;
    const isLf = lf >= 0 && (cr < 0 || lf < cr);
    if (!isPair) found(isLf ? lf : cr);
    if (isPair || isLf) lf = source.indexOf(LF, lf + 1);
    if (isPair || !isLf) cr = source.indexOf(CR, cr + 1);
  }
}
