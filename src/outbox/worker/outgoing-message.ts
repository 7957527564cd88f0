/** Makes the message that `attempt.ts` passes to a sender from the bytes in the store. */
import { type Message, messageFromBytes } from "../../mail/index.ts";

/**
 * Wraps the bytes of a message. `messageIdHeader`, if a redrive asked for a new Message-ID,
 * replaces the one in the bytes.
 */
export function outgoingMessage(bytes: Uint8Array, messageIdHeader?: string): Message {
  const sent = messageIdHeader === undefined ? bytes : withMessageId(bytes, messageIdHeader);
  return messageFromBytes(sent);
}

/** Replaces the Message-ID field (RFC 5322 §3.6.4) in the header, folded or not. */
function withMessageId(bytes: Uint8Array, messageIdHeader: string): Uint8Array {
  const all = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = all.indexOf("\r\n\r\n");
  const header = all.subarray(0, end < 0 ? all.length : end + 2).toString("latin1");
  const field = /^message-id:[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*/im;
  const line = `Message-ID: ${messageIdHeader}\r\n`;
  const replaced = field.test(header) ? header.replace(field, line) : line + header;
  return Buffer.concat([Buffer.from(replaced, "latin1"), all.subarray(header.length)]);
}
