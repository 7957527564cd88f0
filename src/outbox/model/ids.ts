/**
 * Public ids and row keys of both stores (`../sqlite/ids.ts` has the bytes of an id). The row key
 * of a delivery is computed from that of its message, so that no index is needed to find a message
 * from its delivery or its deliveries from a message.
 */

/** A delivery's key is its message's key × 1024 + its ordinal; ordinals start at 1. */
export const deliveriesPerMessage = 1024;

/** A parsed public id: of a message, or with an ordinal of one of its deliveries. */
interface PublicId {
  readonly message: string;
  readonly ordinal: number | undefined;
}

const pattern = /^([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:\.(\d{1,4}))?$/;

/** Parses a public id; `undefined` for any other text. */
export function readId(id: string): PublicId | undefined {
  const found = pattern.exec(id);
  if (!found) return undefined;
  const ordinal = found[2] === undefined ? undefined : Number(found[2]);
  if (ordinal !== undefined && (ordinal < 1 || ordinal >= deliveriesPerMessage)) return undefined;
  const [, message = ""] = found;
  return { message, ordinal };
}

/** Makes the public id of a delivery. */
export function deliveryId(messageId: unknown, delivery: number): string {
  return `${messageId}.${delivery % deliveriesPerMessage}`;
}

export function messageOf(delivery: number): number {
  return Math.floor(delivery / deliveriesPerMessage);
}

/** The range of delivery keys of a public id: one delivery, or all that a message can have. */
export function deliveryKeys(message: number, ordinal?: number): [first: number, last: number] {
  const first = message * deliveriesPerMessage;
  if (ordinal !== undefined) return [first + ordinal, first + ordinal];
  return [first + 1, first + deliveriesPerMessage - 1];
}
