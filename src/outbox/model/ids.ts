/** Public ids and row keys of either store, back and forth. A delivery's key is made of that of its message. */

/** A delivery's key is message × this + ordinal, the ordinal from 1. */
export const DELIVERIES_PER_MESSAGE = 1024;

/** A public id as it came in: of a message, or with an ordinal of one of its deliveries. */
export interface PublicId {
  readonly message: string;
  readonly ordinal: number | undefined;
}

const pattern = /^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:\.(\d{1,4}))?$/;

/** Reads a public id; `undefined` for what is none. */
export function readId(id: string): PublicId | undefined {
  const found = pattern.exec(id);
  if (!found) return undefined;
  const ordinal = found[2] === undefined ? undefined : Number(found[2]);
  if (ordinal !== undefined && (ordinal < 1 || ordinal >= DELIVERIES_PER_MESSAGE)) return undefined;
  return { message: found[1] as string, ordinal };
}

/** The public id of a delivery. */
export function deliveryId(messageId: unknown, delivery: number): string {
  return `${messageId}.${delivery % DELIVERIES_PER_MESSAGE}`;
}

export function messageOf(delivery: number): number {
  return Math.floor(delivery / DELIVERIES_PER_MESSAGE);
}

/** The keys of the deliveries a public id means, the first and the last: of one, or all a message can have. */
export function deliveryKeys(message: number, ordinal?: number): [first: number, last: number] {
  const first = message * DELIVERIES_PER_MESSAGE;
  if (ordinal !== undefined) return [first + ordinal, first + ordinal];
  return [first + 1, first + DELIVERIES_PER_MESSAGE - 1];
}
