/**
 * A private Postfix: its own configuration, queue and state, no chroot, no name service, retries
 * after one second. The machine's own Postfix is not touched and needs no configuration.
 *
 * Source: postconf(5), master(5) of Postfix 3.7.
 */
import type { ChildProcess } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  find,
  freePort,
  listening,
  missing as missingPrograms,
  readableDirectory,
  run,
  start,
  stop,
  until,
} from "./machine.ts";

export interface PostfixOptions {
  /** Settings of main.cf; they override the launcher's. */
  readonly main?: Readonly<Record<string, string>>;
  /** Directory of its files. @defaultValue a temporary one, which `stop` removes */
  readonly directory?: string;
}

/** The domain that this Postfix delivers locally. */
export const postfixDomain = "example.test";

export function missingPostfix(): string | undefined {
  const reason = missingPrograms({ root: true, programs: ["postconf", "setpriv"] });
  return reason ?? (existsSync(daemons) ? undefined : "needs the program postfix");
}

const daemons = "/usr/lib/postfix/sbin";

export class Postfix {
  readonly port: number;
  readonly #directory: string;
  readonly #process: ChildProcess;
  readonly #remove: () => void;

  private constructor(port: number, directory: string, child: ChildProcess, remove: () => void) {
    this.port = port;
    this.#directory = directory;
    this.#process = child;
    this.#remove = remove;
  }

  static async start(options: PostfixOptions = {}): Promise<Postfix> {
    const own = options.directory === undefined ? readableDirectory("postfix") : undefined;
    const directory = options.directory ?? own!.path;
    const port = await freePort();
    await layOut(directory, port, options.main ?? {});
    const child = start(join(daemons, "master"), ["-c", join(directory, "etc"), "-d"], {
      detached: true,
    });
    const postfix = new Postfix(port, directory, child, own?.remove ?? (() => {}));
    try {
      await listening(port, child, () => postfix.log());
    } catch (cause) {
      await postfix.stop();
      throw cause;
    }
    return postfix;
  }

  log(): string {
    const file = join(this.#directory, "postfix.log");
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  /** Number of recipients with a status in the log. */
  count(status: "sent" | "deferred" | "bounced"): number {
    return this.log().split(`status=${status} `).length - 1;
  }

  /** Recipients in the queue, one for each message and address. */
  async queued(): Promise<string[]> {
    const lines = await run("postqueue", "-c", join(this.#directory, "etc"), "-j");
    return lines
      .split("\n")
      .filter((line) => line !== "")
      .flatMap((line) => (JSON.parse(line) as { recipients: { address: string }[] }).recipients)
      .map(({ address }) => address);
  }

  /** Waits until Postfix's queue is empty. */
  async drained(timeoutMs?: number): Promise<void> {
    await until("an empty queue", async () => (await this.queued()).length === 0, timeoutMs);
  }

  async stop(): Promise<void> {
    await stop(this.#process);
    this.#remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

async function layOut(directory: string, port: number, main: Readonly<Record<string, string>>) {
  const etc = join(directory, "etc");
  const queue = join(directory, "queue");
  const data = join(directory, "data");
  for (const path of [etc, queue, data, join(queue, "pid")]) mkdirSync(path, { recursive: true });
  const owner = await idOf("-u", "postfix");
  const group = Number((await run("getent", "group", "postdrop")).split(":")[2]);
  chownSync(data, owner, -1);
  const folders = ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold"];
  for (const name of [...folders, "incoming", "private", "saved", "trace"]) {
    own(join(queue, name), owner, -1, 0o700);
  }
  own(join(queue, "public"), owner, group, 0o2710);
  own(join(queue, "maildrop"), owner, group, 0o1730);
  const settings = { ...defaults(directory), ...main };
  const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}`);
  writeFileSync(join(etc, "main.cf"), `${lines.join("\n")}\n`);
  writeFileSync(join(etc, "master.cf"), services(port));
}

function own(path: string, uid: number, gid: number, mode: number) {
  mkdirSync(path, { recursive: true });
  chownSync(path, uid, gid);
  chmodSync(path, mode);
}

async function idOf(kind: "-u" | "-g", name: string): Promise<number> {
  return Number(await run("id", kind, name));
}

function defaults(directory: string): Record<string, string> {
  return {
    compatibility_level: "3.6",
    queue_directory: join(directory, "queue"),
    data_directory: join(directory, "data"),
    daemon_directory: daemons,
    command_directory: join(find("postconf") ?? "", ".."),
    maillog_file: join(directory, "postfix.log"),
    maillog_file_prefixes: directory,
    mail_owner: "postfix",
    setgid_group: "postdrop",
    myhostname: "relay.example.test",
    mydestination: "",
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    mynetworks: "127.0.0.0/8",
    smtp_dns_support_level: "disabled",
    alias_maps: "",
    alias_database: "",
    local_recipient_maps: "",
    virtual_mailbox_domains: postfixDomain,
    queue_run_delay: "1s",
    minimal_backoff_time: "1s",
    maximal_backoff_time: "2s",
    transport_retry_time: "1s",
    smtpd_peername_lookup: "no",
  };
}

/** The services that a relay needs, none in a chroot. */
function services(port: number): string {
  const rows = [
    [`127.0.0.1:${port}`, "inet", "n", "-", "n", "-", "-", "smtpd"],
    ["pickup", "unix", "n", "-", "n", "60", "1", "pickup"],
    ["cleanup", "unix", "n", "-", "n", "-", "0", "cleanup"],
    ["qmgr", "unix", "n", "-", "n", "300", "1", "qmgr"],
    ["rewrite", "unix", "-", "-", "n", "-", "-", "trivial-rewrite"],
    ...["bounce", "defer", "trace"].map((name) => [
      name,
      "unix",
      "-",
      "-",
      "n",
      "-",
      "0",
      "bounce",
    ]),
    ["verify", "unix", "-", "-", "n", "-", "1", "verify"],
    ["flush", "unix", "n", "-", "n", "1000?", "0", "flush"],
    ["proxymap", "unix", "-", "-", "n", "-", "-", "proxymap"],
    ["smtp", "unix", "-", "-", "n", "-", "-", "smtp"],
    ["relay", "unix", "-", "-", "n", "-", "-", "smtp"],
    ["showq", "unix", "n", "-", "n", "-", "-", "showq"],
    ...["error", "retry"].map((name) => [name, "unix", "-", "-", "n", "-", "-", "error"]),
    ["discard", "unix", "-", "-", "n", "-", "-", "discard"],
    ["virtual", "unix", "-", "n", "n", "-", "-", "virtual"],
    ["lmtp", "unix", "-", "-", "n", "-", "-", "lmtp"],
    ["anvil", "unix", "-", "-", "n", "-", "1", "anvil"],
    ["scache", "unix", "-", "-", "n", "-", "1", "scache"],
    ["postlog", "unix-dgram", "n", "-", "n", "-", "1", "postlogd"],
  ];
  return `${rows.map((row) => row.join(" ")).join("\n")}\n`;
}
