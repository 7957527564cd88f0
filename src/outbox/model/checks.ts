/**
 * Checks of options and mails. A bad value throws an error that names the value received; no value
 * is clamped.
 */
import { optionChecks } from "../../system/index.ts";
import { OutboxError } from "./errors.ts";

export const { wholeNumber, oneOf, refusal } = optionChecks(
  (text) => new OutboxError("ERR_OUTBOX_OPTION", text),
);

/** @throws {OutboxError} ERR_OUTBOX_MAIL for a mail with more than `limit` of something. */
export function atMost(what: string, received: number, limit: number): void {
  if (received <= limit) return;
  const text = `The mail has ${received} ${what}, more than the ${limit} allowed; nothing was enqueued.`;
  throw new OutboxError("ERR_OUTBOX_MAIL", text);
}

/** Milliseconds since 1970 UTC of a `Date`. */
export function instant(name: string, value: Date): number {
  const time = value instanceof Date ? value.getTime() : Number.NaN;
  if (Number.isFinite(time)) return time;
  throw refusal(name, "a valid Date", value);
}

export function checkedKey(key: string): string {
  if (typeof key === "string" && key.length >= 1 && key.length <= 256) return key;
  throw refusal("idempotencyKey", "a text of 1 to 256 characters", key);
}

/** Labels of an application: texts by name, because both databases can store those. */
export function checkedTags(tags: Readonly<Record<string, string>>): typeof tags {
  const isRecord = typeof tags === "object" && tags !== null && !Array.isArray(tags);
  if (!isRecord) throw refusal("tags", "texts by their names", tags);
  for (const [name, value] of Object.entries(tags)) {
    if (typeof value !== "string") throw refusal(`tags.${name}`, "a text", value);
  }
  return tags;
}

export function checkedTemplate(template: string): string {
  if (typeof template === "string") return template;
  throw refusal("template", "a text", template);
}

export function checkDoubt(doubt: unknown): void {
  oneOf("doubt", doubt, ["resend", "hold"]);
}
