/**
 * The protocol between `store.ts` and the database thread: one request and one answer per batch of
 * calls. The calls cross as one text; the bytes of their messages are copied once, into one buffer
 * that is transferred. Errors cross as plain facts, because structured cloning drops the fields of
 * an OutboxError.
 */
import { type ErrorFacts, errorOf, factsOf, type ThreadProtocol } from "../../system/index.ts";
import { OutboxError, type OutboxErrorCode } from "../model/errors.ts";
import type { Claim, IdempotencyKey, NewMessage } from "../model/rows.ts";
import type { Answer, Argument, OperationName } from "./operations.ts";

export interface ThreadOptions {
  readonly file: string;
  readonly busyTimeoutMs: number;
}

export interface Call<Name extends OperationName = OperationName> {
  readonly name: Name;
  readonly argument: Argument<Name>;
}

/** Calls that write share one transaction, which is durable when the request is answered. */
export type Access = "write" | "read";

/** A batch of calls, as {@link packBatch} makes it. */
export interface CallsRequest {
  readonly kind: Access;
  readonly now: number;
  readonly text: string;
  readonly bytes: ArrayBuffer;
}

/** The answer has one result for each call; that of a request about the schema has one. */
export interface DatabaseProtocol extends ThreadProtocol {
  readonly options: ThreadOptions;
  readonly started: undefined;
  readonly request: CallsRequest | { readonly kind: "migrate" | "checkVersion" };
  readonly answer: readonly CallResult[];
}

export type CallResult =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: PackedError };

interface PackedError {
  readonly code: OutboxErrorCode;
  readonly message: string;
  readonly cause?: ErrorFacts | undefined;
}

/** A packed call: its argument as JSON, and the bytes of its messages beside it. */
export interface PackedCall {
  readonly name: OperationName;
  readonly json: string;
  readonly bodies: readonly Uint8Array[];
}

/** A message in JSON: `bytes` is its length in the buffer, the hash is hexadecimal. */
type MessageInJson = Omit<NewMessage, "bytes" | "idempotency"> & {
  readonly bytes: number;
  readonly idempotency?: Omit<IdempotencyKey, "contentSha256"> & { readonly contentSha256: string };
};

/**
 * Packs a call; JSON crosses at half the price of a structured clone.
 *
 * @throws {OutboxError} ERR_OUTBOX_OPTION for an argument that JSON cannot express.
 */
export function packCall<Name extends OperationName>(
  name: Name,
  argument: Argument<Name>,
): PackedCall {
  try {
    if (name !== "enqueue") return { name, json: JSON.stringify({ name, argument }), bodies: [] };
    const messages = argument as readonly NewMessage[];
    const json = JSON.stringify({ name, argument: messages.map(inJson) });
    return { name, json, bodies: messages.map(({ bytes }) => bytes) };
  } catch (cause) {
    const text = `The argument of ${name} is not JSON; nothing was changed: ${String(cause)}`;
    throw new OutboxError("ERR_OUTBOX_OPTION", text, { cause });
  }
}

function inJson(message: NewMessage) {
  const { bytes, idempotency } = message;
  if (idempotency === undefined) return { ...message, bytes: bytes.length };
  const contentSha256 = Buffer.from(idempotency.contentSha256).toString("hex");
  return { ...message, bytes: bytes.length, idempotency: { ...idempotency, contentSha256 } };
}

/** Puts the calls of a batch into one text, and copies their bytes into one buffer. */
export function packBatch(calls: readonly PackedCall[]): { text: string; bytes: ArrayBuffer } {
  const bodies = calls.flatMap((call) => call.bodies);
  const bytes = new Uint8Array(bodies.reduce((total, { length }) => total + length, 0));
  let offset = 0;
  for (const body of bodies) {
    bytes.set(body, offset);
    offset += body.length;
  }
  return { text: `[${calls.map(({ json }) => json).join(",")}]`, bytes: bytes.buffer };
}

/** The calls of a batch as they were before they were packed. */
export function unpackBatch({ text, bytes }: { text: string; bytes: ArrayBuffer }): Call[] {
  const calls = JSON.parse(text) as { name: OperationName; argument: unknown }[];
  let offset = 0;
  const messageOf = ({ bytes: length, idempotency, ...rest }: MessageInJson): NewMessage => {
    const message = { ...rest, bytes: new Uint8Array(bytes, offset, length) };
    offset += length;
    if (idempotency === undefined) return message;
    const contentSha256 = Buffer.from(idempotency.contentSha256, "hex");
    return { ...message, idempotency: { ...idempotency, contentSha256 } };
  };
  for (const call of calls) {
    if (call.name === "enqueue") call.argument = (call.argument as MessageInJson[]).map(messageOf);
  }
  return calls as Call[];
}

/** The buffers in the results of a batch, which are transferred instead of copied. */
export function buffersOf(calls: readonly Call[], results: readonly CallResult[]): ArrayBuffer[] {
  return results.flatMap((result, index) => {
    if (!result.ok) return [];
    const name = calls[index]?.name;
    if (name === "body") return bufferOf(result.value as Answer<"body">);
    if (name !== "claim") return [];
    return (result.value as Claim).deliveries.flatMap(({ bytes }) => bufferOf(bytes));
  });
}

function bufferOf(bytes: Uint8Array | undefined): ArrayBuffer[] {
  return bytes && bytes.length > 0 ? [bytes.buffer as ArrayBuffer] : [];
}

export function packError(code: OutboxErrorCode, error: unknown): PackedError {
  if (error instanceof OutboxError) return { code: error.code, message: error.message };
  if (!(error instanceof Error)) return { code, message: String(error) };
  const consequence =
    code === "ERR_OUTBOX_IN_DOUBT" ? "the write may or may not be durable" : "nothing was changed";
  const message = `The database refused: ${error.message}; ${consequence}.`;
  return { code, message, cause: factsOf(error) };
}

export function unpackError({ code, message, cause }: PackedError): OutboxError {
  return new OutboxError(code, message, cause ? { cause: errorOf(cause) } : {});
}
