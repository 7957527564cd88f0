/** Public ids as SQLite stores them: 16 bytes. Their texts are parsed in `../model/ids.ts`. */

export function uuidBytes(uuid: string): Uint8Array {
  return Buffer.from(uuid.replaceAll("-", ""), "hex");
}

export function uuidText(bytes: unknown): string {
  const { buffer, byteOffset, length } = bytes as Uint8Array;
  const hex = Buffer.from(buffer, byteOffset, length).toString("hex");
  const [a, b, c, d] = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)];
  return `${a}-${b}-${c}-${d}-${hex.slice(20)}`;
}
