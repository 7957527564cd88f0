/**
 * The bytes of a disk. Only pages with bytes other than zero take memory; the others read as zeros.
 * A file system that writes zeros over a whole new disk therefore takes no memory.
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

  /** Every range that may hold bytes other than zero, with its offset. */
  *extents(): Iterable<{ readonly offset: number; readonly bytes: Buffer }> {
    for (const [page, bytes] of this.#pages) yield { offset: page * pageBytes, bytes };
  }
}

const zeros = Buffer.alloc(pageBytes);

/** Whether a range of at most 64 KiB holds only zeros. */
export function isZero(bytes: Uint8Array): boolean {
  return zeros.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}

/** Splits a range at page borders: page number, offset in the page, start and end in the range. */
function* pieces(offset: number, length: number): Iterable<[number, number, number, number]> {
  for (let from = 0; from < length; ) {
    const at = (offset + from) % pageBytes;
    const to = Math.min(length, from + pageBytes - at);
    yield [(offset + from - at) / pageBytes, at, from, to];
    from = to;
  }
}
