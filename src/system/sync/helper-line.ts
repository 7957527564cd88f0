/**
 * The line to a helper process that calls syncfs(2): one request out, one errno number back.
 *
 * The helper is detached, so that Ctrl-C in a terminal does not end it before its parent has
 * drained, and ignores SIGTERM for the same reason; it ends when its standard input does, which
 * the kernel sees to even if the parent is killed. Nothing here keeps the event loop alive except
 * an open request.
 */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import type { Readable, Writable } from "node:stream";
import type { Clock } from "../clock.ts";
import { errnoError, SystemError } from "../errors.ts";

/**
 * A program that says `0` once it is ready, then answers each line with the errno of one syncfs.
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
  #gone: SystemError | undefined;

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
    this.#child.stdin.on("error", (cause) => this.#hasGone(cause));
    this.#child.on("error", (cause) => this.#hasGone(cause));
    this.#child.on("close", () => this.#hasGone(undefined));
    this.#release();
  }

  get alive(): boolean {
    return this.#gone === undefined;
  }

  /** Waits for the helper's greeting: whether it could open the directory and call syncfs once. */
  async answersZero(): Promise<boolean> {
    try {
      return (await this.#nextAnswer(() => undefined)) === 0;
    } catch {
      return false;
    }
  }

  /** Has the file system flushed. @throws the errno error of syncfs(2), or SystemError */
  async ask(): Promise<void> {
    const errno = await this.#nextAnswer(() => this.#child.stdin.write("\n"));
    if (errno !== 0) throw errnoError(errno, "syncfs", this.#directory);
  }

  /** Ends the helper and waits until it has. */
  async end(): Promise<void> {
    this.#child.ref();
    this.#child.stdin.end();
    await this.#ended.promise;
  }

  async #nextAnswer(request: () => void): Promise<number> {
    if (this.#gone) throw this.#gone;
    const answer = Promise.withResolvers<number>();
    this.#answer = answer;
    const timer = this.#clock.setTimeout(() => this.#isTooSlow(), this.#timeoutMs);
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

  #hasGone(cause: unknown): void {
    this.#ended.resolve();
    this.#fail(
      new SystemError(
        "ERR_SYSTEM_HELPER_GONE",
        `the helper that flushes the file system of ${this.#directory} has ended`,
        { cause },
      ),
    );
  }

  #isTooSlow(): void {
    this.#fail(
      new SystemError(
        "ERR_SYSTEM_HELPER_SLOW",
        `flushing the file system of ${this.#directory} took longer than ${this.#timeoutMs} ms`,
      ),
    );
    // It may hang in the kernel for as long as the disk does; nobody waits for it.
    this.#child.kill("SIGKILL");
    this.#ended.resolve();
  }

  #fail(error: SystemError): void {
    this.#gone ??= error;
    this.#answer?.reject(this.#gone);
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
