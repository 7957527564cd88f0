/**
 * The caller's end of a worker thread: numbered requests, one answer for each, events in between.
 * The thread's end is thread-server.ts.
 *
 * An idle thread does not keep the process alive; a request without an answer does. After a
 * thread has ended by itself, its progress with the open requests is unknown: they reject as
 * "lost", later ones as "gone".
 *
 * @see https://nodejs.org/api/worker_threads.html
 */
import { Worker } from "node:worker_threads";
import { type ErrorFacts, errorOf } from "./error-facts.ts";

/** What two ends exchange. Everything must survive structured cloning. */
export interface ThreadProtocol {
  /** Given to the thread when it starts. */
  readonly options: unknown;
  /** Posted once, when the thread is ready. */
  readonly started: unknown;
  readonly request: unknown;
  readonly answer: unknown;
  /** Posted by the thread without a request. */
  readonly event: unknown;
}

export type ToThread<Protocol extends ThreadProtocol> =
  | { readonly kind: "request"; readonly id: number; readonly request: Protocol["request"] }
  | { readonly kind: "close" };

export type FromThread<Protocol extends ThreadProtocol> =
  | { readonly kind: "started"; readonly started: Protocol["started"] }
  | { readonly kind: "not started"; readonly facts: ErrorFacts }
  | { readonly kind: "answer"; readonly id: number; readonly answer: Protocol["answer"] }
  | { readonly kind: "failed"; readonly id: number; readonly facts: ErrorFacts }
  | { readonly kind: "event"; readonly event: Protocol["event"] };

/** Why there is no answer. */
export type NoAnswer =
  /** The thread reported that it cannot start; `cause` is its error. */
  | "not started"
  /** The thread reported that this request failed; `cause` is its error. */
  | "failed"
  /** The thread ended while it held the request; `cause` says why. */
  | "lost"
  /** The thread was closed, or had ended by itself (`cause`), before the request. */
  | "gone";

export interface ThreadClientOptions<Protocol extends ThreadProtocol> {
  /** The thread's name, for debuggers and in errors. */
  readonly name: string;
  /** The thread's file, from {@link threadEntry}. */
  readonly entry: URL;
  readonly options: Protocol["options"];
  /** Makes the room's own error of what went wrong. */
  readonly errorFor: (reason: NoAnswer, cause: unknown) => Error;
  /** Called for each answer, before its promise resolves, in the order of the thread's messages. */
  readonly onAnswer?: ((answer: Protocol["answer"]) => void) | undefined;
  readonly onEvent?: ((event: Protocol["event"]) => void) | undefined;
  /** Called once if the thread ends by itself, before the requests that it held reject. */
  readonly onDeath?: ((cause: unknown) => void) | undefined;
}

/** Returns the file of a thread beside its caller: `.ts` in the sources, `.js` in the package. */
export function threadEntry(path: `./${string}.ts`, callerUrl: string): URL {
  return new URL(callerUrl.endsWith(".ts") ? path : path.replace(/\.ts$/, ".js"), callerUrl);
}

export class ThreadClient<Protocol extends ThreadProtocol> {
  readonly #worker: Worker;
  readonly #options: ThreadClientOptions<Protocol>;
  readonly #waiting = new Map<number, PromiseWithResolvers<Protocol["answer"]>>();
  readonly #started = Promise.withResolvers<Protocol["started"]>();
  readonly #ended = Promise.withResolvers<void>();
  #state: "running" | "closing" | "ended" = "running";
  /** The cause of its end, if it ended by itself. */
  #death: unknown;
  #lastId = 0;
  /** How many requests and other promises keep the process alive. */
  #holds = 0;

  /** Starts the thread. */
  constructor(options: ThreadClientOptions<Protocol>) {
    this.#options = options;
    // Without the process's own flags: some, such as --input-type, are refused by a thread.
    this.#worker = new Worker(options.entry, {
      name: options.name,
      workerData: options.options,
      execArgv: [],
    });
    let failure: unknown;
    this.#worker.on("message", (message: FromThread<Protocol>) => this.#receive(message));
    this.#worker.on("error", (cause) => {
      failure = cause;
    });
    this.#worker.on("exit", (code) => {
      this.#hasEnded(failure ?? new Error(`the thread ${options.name} ended with code ${code}`));
    });
    this.#worker.unref();
    // Not every caller waits for the start.
    this.#started.promise.catch(() => undefined);
  }

  /** Whether the thread has ended by itself. */
  get hasDied(): boolean {
    return this.#death !== undefined;
  }

  /**
   * Resolves with what the thread posted when it was ready.
   *
   * @throws the "not started" error, or as it is the error by which the thread ended.
   */
  started(): Promise<Protocol["started"]> {
    return this.keepAlive(this.#started.promise);
  }

  /**
   * Posts a request; the buffers in `transfer` change hands instead of being copied.
   *
   * @throws the error for "failed", "lost" or "gone".
   */
  async ask(
    request: Protocol["request"],
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<Protocol["answer"]> {
    if (this.#state !== "running") throw this.#options.errorFor("gone", this.#death);
    const id = ++this.#lastId;
    const message: ToThread<Protocol> = { kind: "request", id, request };
    this.#worker.postMessage(message, transfer);
    const waiting = Promise.withResolvers<Protocol["answer"]>();
    this.#waiting.set(id, waiting);
    this.#hold();
    return waiting.promise;
  }

  /** Keeps the process alive until the promise settles. */
  async keepAlive<Value>(promise: Promise<Value>): Promise<Value> {
    this.#hold();
    try {
      return await promise;
    } finally {
      this.#release();
    }
  }

  /** Asks the thread to finish what it holds and to end; resolves when it has. Idempotent. */
  close(): Promise<void> {
    if (this.#state === "running") {
      this.#state = "closing";
      const message: ToThread<Protocol> = { kind: "close" };
      this.#worker.postMessage(message);
    }
    return this.keepAlive(this.#ended.promise);
  }

  /** Ends the thread where it is; requests without an answer reject as "gone". Idempotent. */
  async terminate(): Promise<void> {
    if (this.#state === "running") this.#state = "closing";
    this.#rejectWaiting("gone", undefined);
    await this.#worker.terminate();
  }

  #receive(message: FromThread<Protocol>): void {
    const { errorFor, onAnswer, onEvent } = this.#options;
    switch (message.kind) {
      case "started":
        this.#started.resolve(message.started);
        break;
      case "not started":
        this.#state = "closing"; // It ends now, as it should.
        this.#started.reject(errorFor("not started", errorOf(message.facts)));
        break;
      case "event":
        onEvent?.(message.event);
        break;
      case "answer":
        onAnswer?.(message.answer);
        this.#take(message.id)?.resolve(message.answer);
        break;
      case "failed":
        this.#take(message.id)?.reject(errorFor("failed", errorOf(message.facts)));
    }
  }

  #take(id: number): PromiseWithResolvers<Protocol["answer"]> | undefined {
    const waiting = this.#waiting.get(id);
    if (this.#waiting.delete(id)) this.#release();
    return waiting;
  }

  #hasEnded(cause: unknown): void {
    const wasAsked = this.#state !== "running";
    this.#state = "ended";
    this.#ended.resolve();
    this.#started.reject(cause);
    if (!wasAsked) {
      this.#death = cause;
      this.#options.onDeath?.(cause);
    }
    this.#rejectWaiting("lost", cause);
  }

  #rejectWaiting(reason: NoAnswer, cause: unknown): void {
    for (const id of [...this.#waiting.keys()]) {
      this.#take(id)?.reject(this.#options.errorFor(reason, cause));
    }
  }

  #hold(): void {
    this.#holds += 1;
    if (this.#holds === 1) this.#worker.ref();
  }

  #release(): void {
    this.#holds -= 1;
    if (this.#holds === 0) this.#worker.unref();
  }
}
