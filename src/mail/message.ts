/** A message held in memory. */
import type { Message } from "./contract.ts";

/** Wraps bytes, without a copy; they must not change afterwards. */
export function messageFromBytes(bytes: Uint8Array): Message {
  return {
    size: bytes.length,
    bytes: async () => bytes,
    async *stream() {
      yield bytes;
    },
  };
}
