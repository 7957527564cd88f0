/** Public ids: UUIDs of version 7, which sort by the time of their creation (RFC 9562 §5.7). */
import { randomFillSync } from "node:crypto";

const pool = Buffer.alloc(1600);
let used = pool.length;

/** Makes a UUID; random bytes are drawn in bulk, because each message needs ten. */
export function uuidv7(wallTimeMs: number): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const random = pool.toString("hex", used, used + 10);
  used += 10;
  const time = Math.floor(wallTimeMs).toString(16).padStart(12, "0");
  const variant = ((Number.parseInt(random.charAt(3), 16) & 3) | 8).toString(16);
  const tail = `${variant}${random.slice(4, 7)}-${random.slice(7, 19)}`;
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-${tail}`;
}
