/**
 * What the event loop and the database thread say to each other: one request and one answer per
 * batch of calls. The bytes of messages are copied once into one buffer that changes hands. Errors
 * cross as plain facts, because structured cloning drops an error's own fields.
 */
import { OutboxError, type OutboxErrorCode } from "../errors.ts";
import type { Claim, NewMessage } from "../rows.ts";
import type { Answer, Argument, OperationName } from "./operations.ts";

export interface ThreadOptions {
  readonly file: string;
  readonly busyTimeoutMs: number;
}

export interface Call<Name extends OperationName = OperationName> {
  readonly name: Name;
  readonly argument: Argument<Name>;
}

/** Calls that write share one transaction, durable when it is answered. */
export type Access = "write" | "read";

export type ThreadRequest =
  | {
      readonly kind: Access;
      readonly batch: number;
      readonly now: number;
      readonly calls: readonly Call[];
    }
  | { readonly kind: "migrate"; readonly batch: number }
  | { readonly kind: "checkVersion"; readonly batch: number }
  | { readonly kind: "close" };

export type ThreadAnswer =
  | { readonly kind: "opened" }
  | { readonly kind: "failed"; readonly error: PackedError }
  | { readonly kind: "answered"; readonly batch: number; readonly results: readonly CallResult[] };

export type CallResult =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly error: PackedError };

export interface PackedError {
  readonly code: OutboxErrorCode;
  readonly message: string;
  readonly cause?: Readonly<Record<string, unknown>>;
}

/** Moves the bytes of all messages of a batch into one buffer of their own. */
export function packCalls(calls: readonly Call[]): { calls: Call[]; transfer: ArrayBuffer[] } {
  const enqueues = calls.filter((call): call is Call<"enqueue"> => call.name === "enqueue");
  let total = 0;
  for (const { argument } of enqueues) {
    for (const { bytes } of argument) total += bytes.length;
  }
  const buffer = new ArrayBuffer(total);
  let offset = 0;
  function moved(message: NewMessage): NewMessage {
    const bytes = new Uint8Array(buffer, offset, message.bytes.length);
    bytes.set(message.bytes);
    offset += bytes.length;
    return { ...message, bytes };
  }
  const packed = calls.map(
    (call): Call =>
      call.name === "enqueue"
        ? { name: "enqueue", argument: (call as Call<"enqueue">).argument.map(moved) }
        : call,
  );
  return { calls: packed, transfer: total > 0 ? [buffer] : [] };
}

/** The buffers in the results of a batch, which change hands instead of being copied. */
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
  const { message, name } = error;
  const { code: kind, errcode, errstr } = error as Error & Record<string, unknown>;
  return {
    code,
    message: `The database refused: ${message}.`,
    cause: { message, name, code: kind, errcode, errstr },
  };
}

export function unpackError({ code, message, cause }: PackedError): OutboxError {
  const original = cause && Object.assign(new Error(String(cause.message)), cause);
  return new OutboxError(code, message, original ? { cause: original } : {});
}
