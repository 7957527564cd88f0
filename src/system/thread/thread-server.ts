/**
 * The thread's own end of a worker thread: takes requests, answers each, posts events. The
 * caller's end is thread-client.ts.
 *
 * An error that a handler does not catch ends the thread, and all its open requests are in doubt. A
 * request that only failed is answered with `fail`.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { factsOf } from "./error-facts.ts";
import type { FromThread, ThreadProtocol, ToThread } from "./thread-client.ts";

/** One request; to be answered or failed once, in any order. */
export interface ThreadCall<Protocol extends ThreadProtocol> {
  readonly request: Protocol["request"];
  /** Answers; the buffers in `transfer` change hands instead of being copied. */
  answer(answer: Protocol["answer"], transfer?: readonly ArrayBuffer[]): void;
  fail(error: unknown): void;
}

export interface ThreadServer<Protocol extends ThreadProtocol> {
  readonly options: Protocol["options"];
  /**
   * Calls `handle` for each request from now on; when the caller closes the thread, calls
   * `close`, and then ends.
   */
  serve(handle: (call: ThreadCall<Protocol>) => void, close?: () => void | Promise<void>): void;
  /** Reports that the thread is ready. */
  started(started: Protocol["started"]): void;
  /** Reports why the thread cannot start; it ends when nothing else keeps it alive. */
  notStarted(error: unknown): void;
  post(event: Protocol["event"]): void;
  /** Takes a request that arrived while `handle` was busy, from inside `handle`. */
  next(): ThreadCall<Protocol> | undefined;
}

/** @throws outside a worker thread. */
export function threadServer<Protocol extends ThreadProtocol>(): ThreadServer<Protocol> {
  if (parentPort === null) throw new Error("this file runs only as a worker thread");
  const port = parentPort;
  let isCloseAsked = false;
  /** The requests without an answer. */
  const open = new Set<number>();
  const allAnswered = Promise.withResolvers<void>();

  function post(message: FromThread<Protocol>, transfer: readonly ArrayBuffer[] = []): void {
    try {
      port.postMessage(message, transfer);
    } catch (error) {
      // The caller would get a DOMException that ends the thread without its text.
      throw new TypeError(`cannot post this ${message.kind}: ${String(error)}`);
    }
  }

  function end(id: number): void {
    open.delete(id);
    if (isCloseAsked && open.size === 0) allAnswered.resolve();
  }

  function callOf(message: ToThread<Protocol> | undefined): ThreadCall<Protocol> | undefined {
    if (message === undefined) return undefined;
    if (message.kind === "close") {
      isCloseAsked = true;
      return undefined;
    }
    const { id, request } = message;
    open.add(id);
    return {
      request,
      answer: (answer, transfer) => {
        post({ kind: "answer", id, answer }, transfer);
        end(id);
      },
      fail: (error) => {
        post({ kind: "failed", id, facts: factsOf(error) });
        end(id);
      },
    };
  }

  return {
    options: workerData as Protocol["options"],
    serve: (handle, close = () => undefined) => {
      port.on("message", (message: ToThread<Protocol>) => {
        const call = callOf(message);
        if (call) handle(call);
        if (isCloseAsked) void endThread(close);
      });
    },
    started: (started) => post({ kind: "started", started }),
    notStarted: (error) => {
      post({ kind: "not started", facts: factsOf(error) });
      port.close();
    },
    post: (event) => post({ kind: "event", event }),
    next: () => (isCloseAsked ? undefined : callOf(receiveMessageOnPort(port)?.message)),
  };

  async function endThread(close: () => void | Promise<void>): Promise<void> {
    try {
      await close();
      if (open.size > 0) await allAnswered.promise;
    } finally {
      port.close();
    }
  }
}
