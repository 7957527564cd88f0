/**
 * The mail servers that receive.ts compares. Each is started with its mail, queue and state in one
 * directory and listens on a port of 127.0.0.1; `promise` describes what its 250 means.
 */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { Dovecot, missingDovecot } from "../../test/support/peers/dovecot.ts";
import { Postbag } from "../../test/support/peers/postbag.ts";
import { missingPostfix, Postfix } from "../../test/support/peers/postfix.ts";

export interface Receiver {
  readonly name: string;
  readonly protocol: "smtp" | "lmtp";
  /** Text for the output: what has happened to a message when its 250 is sent. */
  readonly promise: string;
  /** Why the server cannot run on this machine; undefined when it can. */
  readonly lack?: string;
  start(directory: string): Promise<RunningReceiver>;
}

export interface RunningReceiver {
  readonly port: number;
  /** The `new/` of the mailbox {@link followedName}. */
  readonly followed: string;
  /** Reads the number of batches since the start and of their messages; only for Postbag. */
  readonly batches?: () => Promise<Batches>;
  stop(): Promise<void>;
}

export interface Batches {
  readonly batches: number;
  readonly messages: number;
}

/** The domain of the recipients `u0`, `u1` … */
export const domain = "bench.local";

/** The local part of the mailbox for messages that are followed until they are visible. */
export const followedName = "followed";

const nobody = 65_534;

const promises = {
  synced: "data and name in the Maildir are on disk: it survives a power cut and is visible",
  journal: "it is in the journal on disk: it survives a power cut, and becomes visible soon",
} as const;

function postbag(protocol: "smtp" | "lmtp", commit: "synced" | "journal"): Receiver {
  return {
    name: `Postbag ${protocol.toUpperCase()} ${commit}`,
    protocol,
    promise: promises[commit],
    start: async (directory) => {
      const server = await Postbag.start({
        data: join(directory, "data"),
        domain,
        arguments: ["--commit", commit],
        nodeArguments: nodeArguments(),
      });
      return {
        port: protocol === "smtp" ? server.smtpPort : server.lmtpPort,
        followed: makeMaildir(server.mailbox(followedName)),
        batches: () => batchesOf(server.httpPort),
        stop: async () => void (await server.stop()),
      };
    },
  };
}

/** Reads the count and the sum of the histogram of batch sizes from /metrics. */
async function batchesOf(httpPort: number): Promise<Batches> {
  const metrics = await new Promise<string>((resolve, reject) => {
    get({ port: httpPort, host: "127.0.0.1", path: "/metrics", agent: false }, (response) =>
      resolve(text(response)),
    ).on("error", reject);
  });
  const figure = (name: string) =>
    Number(new RegExp(`^${name} (.+)$`, "m").exec(metrics)?.[1] ?? Number.NaN);
  return {
    batches: figure("postbag_batch_messages_count"),
    messages: figure("postbag_batch_messages_sum"),
  };
}

/** Arguments for Node, such as `--cpu-prof --cpu-prof-dir=DIR` for a profile of the server. */
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
      names.push(`${followedName}@${domain} ${followedName}/\n`);
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
      const followed = makeMaildir(join(mail, followedName), nobody);
      return { port: server.port, followed, stop: () => server.stop() };
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
      const domainRoot = makeOwned(join(mailRoot, domain), nobody);
      const followed = makeMaildir(join(domainRoot, followedName), nobody);
      return { port: server.lmtpPort, followed, stop: () => server.stop() };
    },
  };
}

/** Opens the directories of root to Postfix and Dovecot, which run as other users. */
function mailDirectory(directory: string): string {
  for (const path of [directory, dirname(directory)]) chmodSync(path, 0o755);
  return makeOwned(join(directory, "mail"), nobody);
}

/** Makes an empty Maildir and returns the path of its `new/`. */
function makeMaildir(path: string, owner?: number): string {
  makeOwned(path, owner);
  for (const folder of ["cur", "tmp", "new"]) makeOwned(join(path, folder), owner);
  return join(path, "new");
}

function makeOwned(path: string, owner?: number): string {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  if (owner !== undefined) chownSync(path, owner, owner);
  return path;
}

export const receivers: readonly Receiver[] = [
  postbag("smtp", "journal"),
  postbag("smtp", "synced"),
  postfix(),
  postbag("lmtp", "journal"),
  postbag("lmtp", "synced"),
  dovecot(),
];
