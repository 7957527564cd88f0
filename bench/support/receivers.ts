/**
 * The mail servers whose receiving is compared: each is started with its mail, queue and state on one
 * directory, answers on a port of 127.0.0.1, and says what its 250 means.
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
  /** What has happened to a message when its 250 is sent. */
  readonly promise: string;
  /** Why it cannot run here. */
  readonly lack?: string;
  start(directory: string): Promise<RunningReceiver>;
}

export interface RunningReceiver {
  readonly port: number;
  /** The `new/` of the mailbox {@link followedName}. */
  readonly followed: string;
  /** What went into batches so far, where the server tells. */
  readonly batches?: () => Promise<Batches>;
  stop(): Promise<void>;
}

export interface Batches {
  readonly batches: number;
  readonly messages: number;
}

/** Recipients are `u0`, `u1` … at this domain. */
export const domain = "bench.local";

/** A mailbox beside those, for the messages that are followed until they are visible. */
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

/** Reads the histogram of batch sizes. */
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

/** Daemons with users of their own have to get to their files through directories of root. */
function mailDirectory(directory: string): string {
  for (const path of [directory, dirname(directory)]) chmodSync(path, 0o755);
  return makeOwned(join(directory, "mail"), nobody);
}

/** Makes an empty Maildir and returns its `new/`. */
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
