/** Public ids and row keys, back and forth. */
import { DELIVERIES_PER_MESSAGE } from "./schema.ts";

/** A public id as it came in: of a message, or with an ordinal of one of its deliveries. */
export interface PublicId {
  readonly message: Uint8Array;
  readonly ordinal: number | undefined;
}

const pattern = /^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:\.(\d{1,4}))?$/;

/** Reads a public id; `undefined` for what is none. */
export function readId(id: string): PublicId | undefined {
  const found = pattern.exec(id);
  if (!found) return undefined;
  const ordinal = found[2] === undefined ? undefined : Number(found[2]);
  if (ordinal !== undefined && (ordinal < 1 || ordinal >= DELIVERIES_PER_MESSAGE)) return undefined;
  return { message: uuidBytes(found[1] as string), ordinal };
}

export function uuidBytes(uuid: string): Uint8Array {
  return Buffer.from(uuid.replaceAll("-", ""), "hex");
}

export function uuidText(bytes: unknown): string {
  const hex = Buffer.from(bytes as Uint8Array).toString("hex");
  return [8, 12, 16, 20, 32].map((end, i) => hex.slice([0, 8, 12, 16, 20][i], end)).join("-");
}

export function deliveryId(publicId: unknown, delivery: number): string {
  return `${uuidText(publicId)}.${delivery % DELIVERIES_PER_MESSAGE}`;
}

export function messageOf(delivery: number): number {
  return Math.floor(delivery / DELIVERIES_PER_MESSAGE);
}

/** The first and the last key a delivery of this message can have. */
export function deliveryKeys(message: number): [first: number, last: number] {
  const first = message * DELIVERIES_PER_MESSAGE;
  return [first + 1, first + DELIVERIES_PER_MESSAGE - 1];
}
