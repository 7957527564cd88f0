/**
 * A disk's worth of bytes, of which only what was ever written takes up memory. The rest reads as
 * zeros, and so file systems that write zeros all over a new disk cost nothing.
 */
const pageBytes = 64 * 1024;

export class SparseBytes {
  readonly #pages = new Map<number, Buffer>();

  write(offset: number, bytes: Uint8Array): void {
    for (const [page, at, from, to] of pieces(offset, bytes.length)) {
      const piece = bytes.subarray(from, to);
      let held = this.#pages.get(page);
      if (held === undefined) {
        if (isZero(piece)) continue;
        held = Buffer.alloc(pageBytes);
        this.#pages.set(page, held);
      }
      held.set(piece, at);
    }
  }

  read(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    for (const [page, at, from, to] of pieces(offset, length)) {
      const held = this.#pages.get(page);
      if (held !== undefined) bytes.set(held.subarray(at, at + to - from), from);
    }
    return bytes;
  }

  /** Every stretch that may hold more than zeros, with its offset. */
  *extents(): Iterable<{ readonly offset: number; readonly bytes: Buffer }> {
    for (const [page, bytes] of this.#pages) yield { offset: page * pageBytes, bytes };
  }
}

const zeros = Buffer.alloc(pageBytes);

/** Says whether a stretch of at most 64 KiB holds nothing but zeros. */
export function isZero(bytes: Uint8Array): boolean {
  return zeros.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}

/** Cuts a stretch at page borders: page number, place in the page, begin and end in the stretch. */
function* pieces(offset: number, length: number): Iterable<[number, number, number, number]> {
  for (let from = 0; from < length; ) {
    const at = (offset + from) % pageBytes;
    const to = Math.min(length, from + pageBytes - at);
    yield [(offset + from - at) / pageBytes, at, from, to];
    from = to;
  }
}
