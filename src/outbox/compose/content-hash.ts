/**
 * A hash of an application's request, before Message-ID, Date and boundaries are added: equal
 * requests have equal hashes, and requests that differ anywhere have different ones. `outbox.ts`
 * stores it with an idempotency key, to tell a repeat from another mail.
 */
import { createHash, type Hash } from "node:crypto";
import { OutboxError } from "../model/errors.ts";

/**
 * @throws {OutboxError} ERR_OUTBOX_MAIL for a value that can be read only once, such as a stream.
 */
export function contentHash(content: unknown): Uint8Array {
  const hash = createHash("sha256");
  feed(hash, content, "mail");
  return hash.digest();
}

/** Feeds each value with its type and length, so that no two values give the same input. */
function feed(hash: Hash, value: unknown, path: string): void {
  if (value === undefined || value === null) hash.update("n;");
  else if (typeof value === "string") feedBytes(hash, "s", Buffer.from(value));
  else if (typeof value === "number" || typeof value === "boolean") {
    hash.update(`v${String(value)};`);
  } else if (value instanceof Uint8Array) feedBytes(hash, "b", value);
  else if (value instanceof Date) hash.update(`d${value.getTime()};`);
  else if (Array.isArray(value)) {
    hash.update(`a${value.length};`);
    for (const [index, item] of value.entries()) feed(hash, item, `${path}[${index}]`);
  } else if (isPlain(value)) {
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    hash.update(`o${entries.length};`);
    for (const [name, inner] of entries) {
      feedBytes(hash, "k", Buffer.from(name));
      feed(hash, inner, `${path}.${name}`);
    }
  } else {
    const text = `${path} cannot be part of a mail with an idempotencyKey: it is read only once`;
    throw new OutboxError("ERR_OUTBOX_MAIL", `${text}; give a string or a Buffer.`);
  }
}

function feedBytes(hash: Hash, kind: string, bytes: Uint8Array): void {
  hash.update(`${kind}${bytes.length};`);
  hash.update(bytes);
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
