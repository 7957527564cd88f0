/**
 * The line to a helper process that calls syncfs(2): one request out, one errno number back.
 *
 * The helper is detached, so that Ctrl-C in a terminal does not end it before its parent has
 * drained, and ignores SIGTERM for the same reason. It ends at the end of its standard input,
 * which the kernel closes even if the parent is killed. Only an open request keeps the event loop
 * alive.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import type { Clock } from "../clock.ts";
import { errnoError, SystemError } from "../errors.ts";

/**
 * A program that prints `0` once it is ready, then the errno of one syncfs for each line it
 * reads.
 */
export interface Helper {
  readonly command: string;
  readonly args: readonly string[];
}

type Child = ChildProcessByStdio<Writable, Readable, null>;

export class HelperLine {
  readonly #child: Child;
  readonly #directory: string;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #ended = Promise.withResolvers<void>();
  #answer: PromiseWithResolvers<number> | undefined;
  #failure: SystemError | undefined;

  constructor(helper: Helper, directory: string, timeoutMs: number, clock: Clock) {
    this.#directory = directory;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
    this.#child = spawn(helper.command, [...helper.args, directory], {
      cwd: "/",
      detached: true,
      stdio: ["pipe", "pipe", "ignore"],
    });
    let line = "";
    this.#child.stdout.setEncoding("latin1").on("data", (text: string) => {
      line += text;
      if (!line.endsWith("\n")) return;
      this.#answer?.resolve(Number(line));
      line = "";
    });
    this.#child.stdin.on("error", (cause) => this.#hasEnded(cause));
    this.#child.on("error", (cause) => this.#hasEnded(cause));
    this.#child.on("close", () => this.#hasEnded(undefined));
    this.#release();
  }

  get alive(): boolean {
    return this.#failure === undefined;
  }

  /** Whether the helper could open the directory and call syncfs once, by its first line. */
  async answersZero(): Promise<boolean> {
    try {
      return (await this.#nextAnswer(() => undefined)) === 0;
    } catch {
      return false;
    }
  }

  /** Flushes the file system. @throws the errno error of syncfs(2), or SystemError */
  async ask(): Promise<void> {
    const errno = await this.#nextAnswer(() => this.#child.stdin.write("\n"));
    if (errno !== 0) throw errnoError(errno, "syncfs", this.#directory);
  }

  /** Ends the helper and waits for its end. */
  async end(): Promise<void> {
    this.#child.ref();
    this.#child.stdin.end();
    await this.#ended.promise;
  }

  async #nextAnswer(request: () => void): Promise<number> {
    if (this.#failure) throw this.#failure;
    const answer = Promise.withResolvers<number>();
    this.#answer = answer;
    const timer = this.#clock.setTimeout(() => this.#endLate(), this.#timeoutMs);
    this.#hold();
    try {
      request();
      return await answer.promise;
    } finally {
      this.#answer = undefined;
      this.#clock.clearTimeout(timer);
      this.#release();
    }
  }

  #hasEnded(cause: unknown): void {
    this.#ended.resolve();
    this.#fail(
      new SystemError(
        "ERR_SYSTEM_HELPER_GONE",
        `The helper that flushes the file system of ${this.#directory} has ended.`,
        { cause },
      ),
    );
  }

  #endLate(): void {
    this.#fail(
      new SystemError(
        "ERR_SYSTEM_HELPER_SLOW",
        `A flush of the file system of ${this.#directory} took longer than ${this.#timeoutMs} ms.`,
      ),
    );
    // It may hang in the kernel as long as the disk does, so its end is not awaited.
    this.#child.kill("SIGKILL");
    this.#ended.resolve();
  }

  #fail(error: SystemError): void {
    this.#failure ??= error;
    this.#answer?.reject(this.#failure);
  }

  #hold(): void {
    this.#child.ref();
  }

  #release(): void {
    this.#child.unref();
    for (const stream of [this.#child.stdin, this.#child.stdout]) {
      (stream as Partial<{ unref(): void }>).unref?.();
    }
  }
}
