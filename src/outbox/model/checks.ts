/** Checks at the door of the outbox: nothing is clamped, each refusal names the value received. */
import { optionChecks } from "../../system/index.ts";
import { OutboxError } from "./errors.ts";

export const { wholeNumber, oneOf, refusal } = optionChecks(
  (text) => new OutboxError("ERR_OUTBOX_OPTION", text),
);

export function atMost(what: string, received: number, limit: number): void {
  if (received <= limit) return;
  const text = `The mail has ${received} ${what}, more than the ${limit} allowed.`;
  throw new OutboxError("ERR_OUTBOX_MAIL", text);
}

export function instant(name: string, value: Date): number {
  const time = value instanceof Date ? value.getTime() : Number.NaN;
  if (Number.isFinite(time)) return time;
  throw refusal(name, "a valid Date", value);
}

export function checkedKey(key: string): string {
  if (typeof key === "string" && key.length >= 1 && key.length <= 256) return key;
  throw refusal("idempotencyKey", "a text of 1 to 256 characters", key);
}

/** Labels of an application: text by name, and nothing that a database could not keep. */
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
