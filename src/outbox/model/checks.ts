/** Checks at the door of the outbox: nothing is clamped, each refusal names the value received. */
import { OutboxError } from "./errors.ts";

export function atMost(what: string, received: number, limit: number): void {
  if (received <= limit) return;
  const text = `The mail has ${received} ${what}, more than the ${limit} allowed.`;
  throw new OutboxError("ERR_OUTBOX_MAIL", text);
}

export function instant(name: string, value: Date): number {
  const time = value instanceof Date ? value.getTime() : Number.NaN;
  if (Number.isFinite(time)) return time;
  throw new OutboxError("ERR_OUTBOX_OPTION", `${name} must be a valid Date; got ${String(value)}`);
}

export function checkedKey(key: string): string {
  if (typeof key === "string" && key.length >= 1 && key.length <= 256) return key;
  throw new OutboxError(
    "ERR_OUTBOX_OPTION",
    `idempotencyKey must be 1 to 256 characters; got ${JSON.stringify(key)}`,
  );
}

/** Labels of an application: text by name, and nothing that a database could not keep. */
export function checkedTags(tags: Readonly<Record<string, string>>): typeof tags {
  const isRecord = typeof tags === "object" && tags !== null && !Array.isArray(tags);
  const wrong = isRecord && Object.entries(tags).find(([, value]) => typeof value !== "string");
  if (isRecord && !wrong) return tags;
  const got = wrong ? `${typeof wrong[1]} in ${wrong[0]}` : typeof tags;
  throw new OutboxError("ERR_OUTBOX_OPTION", `tags must be texts by their names; got ${got}`);
}

export function checkedTemplate(template: string): string {
  if (typeof template === "string") return template;
  const text = `template must be a text; got ${typeof template}`;
  throw new OutboxError("ERR_OUTBOX_OPTION", text);
}

export function checkDoubt(doubt: unknown): void {
  if (doubt === "resend" || doubt === "hold") return;
  throw new OutboxError(
    "ERR_OUTBOX_OPTION",
    `doubt must be "resend" or "hold"; got ${JSON.stringify(doubt)}`,
  );
}

export function wholeNumber(
  name: string,
  value: number,
  least = 1,
  most = Number.POSITIVE_INFINITY,
): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  const bounds = most < Number.POSITIVE_INFINITY ? `${least} to ${most}` : `${least} up`;
  const text = `${name} must be a whole number from ${bounds}; got ${String(value)}`;
  throw new OutboxError("ERR_OUTBOX_OPTION", text);
}
