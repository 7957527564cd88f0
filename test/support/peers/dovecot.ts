/**
 * A private Dovecot 2.3 over a tree of Maildirs `<root>/<domain>/<local part>`: IMAP and LMTP on
 * 127.0.0.1, any password, its own run, state and log directories.
 *
 * Dovecot reads as the owner of the files, who must not be root: Dovecot refuses to read mail as
 * root. Its log names every irregularity of a Maildir: {@link Dovecot.complaints}.
 */
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
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
} from "./machine.ts";

export interface DovecotOptions {
  /** Holds `<domain>/<local part>/{new,cur,tmp}`. */
  readonly mailRoot: string;
  /** User and group id of the mail. @defaultValue 65534, the user nobody */
  readonly owner?: number;
  /** Additional lines of dovecot.conf. */
  readonly config?: string;
  /** Directory of everything but the mail. @defaultValue a temporary one, removed at the end */
  readonly directory?: string;
}

export function missingDovecot(protocol: "imap" | "lmtp"): string | undefined {
  const reason = missingPrograms({ root: true, programs: ["dovecot", "doveadm", "setpriv"] });
  if (reason !== undefined) return reason;
  return existsSync(`/usr/lib/dovecot/${protocol}`) ? undefined : `needs dovecot-${protocol}d`;
}

export class Dovecot {
  readonly imapPort: number;
  readonly lmtpPort: number;
  readonly #directory: string;
  readonly #process: ChildProcess;
  readonly #remove: () => void;

  private constructor(
    ports: { imap: number; lmtp: number },
    directory: string,
    child: ChildProcess,
    remove: () => void,
  ) {
    this.imapPort = ports.imap;
    this.lmtpPort = ports.lmtp;
    this.#directory = directory;
    this.#process = child;
    this.#remove = remove;
  }

  static async start(options: DovecotOptions): Promise<Dovecot> {
    const own = options.directory === undefined ? readableDirectory("dovecot") : undefined;
    const directory = options.directory ?? own!.path;
    const ports = { imap: await freePort(), lmtp: await freePort() };
    mkdirSync(join(directory, "state"), { recursive: true });
    const config = join(directory, "dovecot.conf");
    writeFileSync(config, configuration(directory, ports, options));
    const child = start(find("dovecot") ?? "dovecot", ["-F", "-c", config], { detached: true });
    const dovecot = new Dovecot(ports, directory, child, own?.remove ?? (() => {}));
    try {
      await listening(ports.lmtp, child, () => dovecot.log());
      await listening(ports.imap, child, () => dovecot.log());
    } catch (cause) {
      await dovecot.stop();
      throw cause;
    }
    return dovecot;
  }

  log(): string {
    const file = join(this.#directory, "dovecot.log");
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  /** The lines of the log about errors and irregularities; empty after a good run. */
  complaints(): string[] {
    return this.log()
      .split("\n")
      .filter((line) =>
        /Error:|Warning:|Fatal:|Panic:|reappeared|duplicate|wrong [SW] value/.test(line),
      );
  }

  doveadm(...args: string[]): Promise<string> {
    return run("doveadm", "-c", join(this.#directory, "dovecot.conf"), ...args);
  }

  async stop(): Promise<void> {
    await stop(this.#process);
    this.#remove();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

function configuration(
  directory: string,
  ports: { imap: number; lmtp: number },
  { mailRoot, owner = 65_534, config = "" }: DovecotOptions,
): string {
  return `
base_dir = ${directory}/run
state_dir = ${directory}/state
log_path = ${directory}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
first_valid_uid = 0
first_valid_gid = 0
mail_uid = ${owner}
mail_gid = ${owner}
mail_location = maildir:${mailRoot}/%d/%n
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=${owner} gid=${owner} home=${mailRoot}/%d/%n allow_all_users=yes
}
namespace inbox {
  inbox = yes
}
service imap-login {
  inet_listener imap {
    address = 127.0.0.1
    port = ${ports.imap}
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = ${ports.lmtp}
  }
}
${config}
`;
}
