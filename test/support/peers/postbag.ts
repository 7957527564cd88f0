/** The real Postbag server as a child process on its own ports; a test kills and restarts it. */
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { freePort, hasEnded, start, stop, until } from "./machine.ts";

export interface PostbagOptions {
  /** The data directory; mail is in `mail/<domain>/<local part>/` below it. */
  readonly data: string;
  readonly domain: string;
  /** Additional arguments of `serve`. */
  readonly arguments?: readonly string[];
  /** Arguments of Node itself, such as `--cpu-prof`. */
  readonly nodeArguments?: readonly string[];
  /** User and group id to run as; for root only. @defaultValue those of this process */
  readonly owner?: number;
}

/** Long, because other programs may slow the machine down. */
const startTimeoutMs = 180_000;
const root = join(import.meta.dirname, "../../..");
const main = join(root, "src/cli/main.ts");
/** The compile cache of `npm start`, so that no thread compiles the sources again. */
const compileCache = join(root, "node_modules/.cache/node");

export class Postbag {
  readonly smtpPort: number;
  readonly lmtpPort: number;
  readonly httpPort: number;
  readonly #options: PostbagOptions;
  #process: ChildProcess | undefined;
  #output = "";
  #log = "";

  private constructor(options: PostbagOptions, ports: readonly [number, number, number]) {
    this.#options = options;
    [this.smtpPort, this.lmtpPort, this.httpPort] = ports;
  }

  static async start(options: PostbagOptions): Promise<Postbag> {
    const ports = [await freePort(), await freePort(), await freePort()] as const;
    const postbag = new Postbag(options, ports);
    await postbag.start();
    return postbag;
  }

  /** Starts the server on its ports, for the first time or after {@link stop} or {@link kill}. */
  async start(): Promise<void> {
    const { data, domain, owner } = this.#options;
    const listen = (name: string, port: number) => [`--${name}`, `127.0.0.1:${port}`];
    this.#output = "";
    const child = start(
      process.execPath,
      [
        ...(this.#options.nodeArguments ?? []),
        main,
        "serve",
        ...["--data", data, "--domain", domain, "--file-system-check", "warn"],
        ...listen("smtp", this.smtpPort),
        ...listen("lmtp", this.lmtpPort),
        ...listen("http", this.httpPort),
        ...(this.#options.arguments ?? []),
      ],
      {
        stdio: ["ignore", "pipe", "pipe"],
        env: { ...process.env, NODE_COMPILE_CACHE: compileCache },
        owner,
      },
    );
    this.#process = child;
    child.stdout!.on("data", (bytes: Buffer) => {
      this.#output += bytes;
    });
    child.stderr!.on("data", (bytes: Buffer) => {
      this.#log += bytes;
    });
    await until(
      "postbag ready",
      () => {
        if (hasEnded(child)) throw new Error(`Postbag ended: ${this.#output}${this.#log}`);
        return this.#output.includes("postbag ready");
      },
      startTimeoutMs,
    );
  }

  get pid(): number {
    return this.#process?.pid ?? Number.NaN;
  }

  /** The server's standard error so far, over all starts. */
  log(): string {
    return this.#log;
  }

  /** The mailbox of a local part, which must need no encoding. */
  mailbox(localPart: string): string {
    return join(this.#options.data, "mail", this.#options.domain, localPart);
  }

  /** Resolves when every acknowledged message is visible in its mailbox. */
  async published(): Promise<void> {
    await until("all mail published", async () => {
      const metrics = await fetch(`http://127.0.0.1:${this.httpPort}/metrics`);
      return /^postbag_unpublished_messages 0$/m.test(await metrics.text());
    });
  }

  /** Stops the server by SIGTERM; resolves with its exit code. */
  async stop(): Promise<number | null> {
    if (this.#process !== undefined) await stop(this.#process);
    return this.#process?.exitCode ?? null;
  }

  /** Kills the server by SIGKILL: no handler runs, and the server syncs nothing more. */
  async kill(): Promise<void> {
    if (this.#process !== undefined) await stop(this.#process, "SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
