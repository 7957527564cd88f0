/**
 * The mail servers whose receiving is compared: each is started with its mail, queue and state on one
 * directory, answers on a port of 127.0.0.1, and says what its 250 means.
 */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { Dovecot, missingDovecot } from "../../test/support/peers/dovecot.ts";
import { Postbag } from "../../test/support/peers/postbag.ts";
import { missingPostfix, Postfix } from "../../test/support/peers/postfix.ts";

export interface Receiver {
  readonly name: string;
  readonly protocol: "smtp" | "lmtp";
  /** What has happened to a message when its 250 is sent. */
  readonly promise: string;
  /** Why it cannot run here. */
  readonly lack?: string;
  start(directory: string): Promise<RunningReceiver>;
}

export interface RunningReceiver {
  readonly port: number;
  stop(): Promise<void>;
}

/** Recipients are `u0`, `u1` … at this domain. */
export const domain = "bench.local";

const nobody = 65_534;

function postbag(protocol: "smtp" | "lmtp"): Receiver {
  return {
    name: `Postbag ${protocol.toUpperCase()}`,
    protocol,
    promise: "data and name in the Maildir are on disk: it survives a power cut and is visible",
    start: async (directory) => {
      const server = await Postbag.start({
        data: join(directory, "data"),
        domain,
        nodeArguments: nodeArguments(),
      });
      const port = protocol === "smtp" ? server.smtpPort : server.lmtpPort;
      return { port, stop: async () => void (await server.stop()) };
    },
  };
}

/** Such as `--cpu-prof --cpu-prof-dir=DIR`, to see where the server's time goes. */
function nodeArguments(): string[] {
  return (process.env.POSTBAG_BENCH_NODE_ARGUMENTS ?? "").split(" ").filter((word) => word !== "");
}

function postfix(): Receiver {
  const lack = missingPostfix();
  return {
    name: "Postfix SMTP",
    protocol: "smtp",
    promise: "the queue file's data is on disk; it reaches the Maildir afterwards",
    ...(lack !== undefined && { lack }),
    start: async (directory) => {
      const mail = mailDirectory(directory);
      const boxes = join(directory, "boxes");
      const names = Array.from({ length: 200 }, (_, box) => `u${box}@${domain} u${box}/\n`);
      writeFileSync(boxes, names.join(""));
      const server = await Postfix.start({
        directory: join(directory, "postfix"),
        main: {
          virtual_mailbox_domains: domain,
          virtual_mailbox_base: mail,
          virtual_mailbox_maps: `texthash:${boxes}`,
          virtual_uid_maps: `static:${nobody}`,
          virtual_gid_maps: `static:${nobody}`,
        },
      });
      return { port: server.port, stop: () => server.stop() };
    },
  };
}

function dovecot(): Receiver {
  const lack = missingDovecot("lmtp");
  return {
    name: "Dovecot LMTP",
    protocol: "lmtp",
    promise: "data and name in the Maildir are on disk (mail_fsync = optimized)",
    ...(lack !== undefined && { lack }),
    start: async (directory) => {
      const mailRoot = mailDirectory(directory);
      const server = await Dovecot.start({ mailRoot, directory: join(directory, "dovecot") });
      return { port: server.lmtpPort, stop: () => server.stop() };
    },
  };
}

/** Daemons with users of their own have to get to their files through directories of root. */
function mailDirectory(directory: string): string {
  for (const path of [directory, dirname(directory)]) chmodSync(path, 0o755);
  const mail = join(directory, "mail");
  mkdirSync(mail);
  chownSync(mail, nobody, nobody);
  return mail;
}

export const receivers: readonly Receiver[] = [
  postbag("smtp"),
  postfix(),
  postbag("lmtp"),
  dovecot(),
];
