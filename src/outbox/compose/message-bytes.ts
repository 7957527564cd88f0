/**
 * Edits the header of a message for `compose.ts`: finds the fields, removes some and adds others.
 * No other byte of the message changes.
 *
 * @see RFC 5322 §2.1 (lines), §3.6 (fields); RFC 5321 §2.3.8 (CRLF only).
 */

/** A field of the header, with the range of its bytes. */
export interface HeaderField {
  /** Lower-case. */
  readonly name: string;
  /** Unfolded and trimmed; each byte is one character (latin1). */
  readonly value: string;
  readonly start: number;
  readonly end: number;
}

/** Lists the fields of a header, in order; reads no further than the first empty line. */
export function headerFields(bytes: Uint8Array): HeaderField[] {
  const buffer = asBuffer(bytes);
  const empty = buffer.indexOf("\r\n\r\n");
  const head = buffer.toString("latin1", 0, empty === -1 ? buffer.length : empty + 2);
  const fields: HeaderField[] = [];
  const pattern = /([!-9;-~]+)[ \t]*:([^\r\n]*(?:\r\n[ \t][^\r\n]*)*)\r\n/y;
  for (let found = pattern.exec(head); found; found = pattern.exec(head)) {
    const [whole, name = "", value = ""] = found;
    const start = found.index;
    const unfolded = (value.includes("\r") ? value.replaceAll("\r\n", "") : value).trim();
    fields.push({ name: name.toLowerCase(), value: unfolded, start, end: start + whole.length });
  }
  return fields;
}

/** Removes the fields `without`, listed in the order of the header, and adds lines on top. */
export function editHeader(
  bytes: Uint8Array,
  edit: {
    readonly without?: readonly HeaderField[] | undefined;
    readonly add?: readonly string[] | undefined;
  },
): Uint8Array {
  const { without = [], add = [] } = edit;
  if (without.length === 0 && add.length === 0) return bytes;
  const parts: Uint8Array[] = [Buffer.from(add.map((line) => `${line}\r\n`).join(""))];
  let from = 0;
  for (const { start, end } of without) {
    parts.push(bytes.subarray(from, start));
    from = end;
  }
  parts.push(bytes.subarray(from));
  return Buffer.concat(parts);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
