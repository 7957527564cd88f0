/**
 * `postbag doctor`: checks that this machine has what Postbag needs, and advises on each fault. The
 * checks only read: they create, lock and repair nothing. Called by `cli/doctor.ts`.
 */
import { accessSync, constants, statfsSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { release } from "node:os";
import { delimiter, join } from "node:path";
import { errnoOf } from "../../system/index.ts";
import { dataDirectoryAt, holderOfLock, journalFolderOf } from "../data-directory.ts";
import { isLoopback, type ListenAddress, showListenAddress } from "../settings/kinds.ts";
import { listenError } from "../settings/listen-error.ts";
import { flagOf, type Settings } from "../settings/table.ts";
import { bad, type Check, good, warning } from "./check.ts";
import { judge, mountOf, nearestExisting } from "./file-system-check.ts";
import { checkJournal } from "./journal-checks.ts";
import { checkOutbound } from "./outbound-check.ts";

export interface DoctorReport {
  /** Whether no check is `bad`: the server can start here and keep its promises. */
  readonly healthy: boolean;
  readonly checks: readonly Check[];
}

/** Runs every check, and returns the results in the order in which the command prints them. */
export async function examine(settings: Settings): Promise<DoctorReport> {
  const data = dataDirectoryAt(settings.data);
  const holder = holderOfLock(data.path);
  const checks = [
    checkNode(process.versions.node),
    checkKernel(release()),
    checkBulkSync(process.env.PATH ?? ""),
    ...checkFolder(data.path),
    ...checkSpace(data.mail, settings.minFreeBytes),
    ...checkJournalMount(settings),
    ...(await checkJournal(settings, data, holder !== undefined)),
    ...(holder === undefined ? await checkAddresses(settings) : [runningHere(holder)]),
    checkExposure(settings),
    await checkOutbound(settings),
  ];
  return { healthy: checks.every(({ state }) => state !== "bad"), checks };
}

const minNode = 24;

/** @internal */
export function checkNode(found: string): Check {
  if (Number.parseInt(found, 10) >= minNode) return good("Node", found);
  return bad("Node", found, `Install Node ${minNode} or newer.`);
}

/** @internal */
export function checkKernel(found: string): Check {
  const [major = 0, minor = 0] = found.split(/[.-]/).map(Number);
  if (major > 5 || (major === 5 && minor >= 17)) return good("Kernel", found);
  return warning(
    "Kernel",
    found,
    "Before Linux 5.17 a flush of a whole file system may hide an error, so each file is flushed alone, which is slower. Update the kernel.",
  );
}

/** @internal */
export function checkBulkSync(path: string): Check {
  const name = "Bulk flush";
  const helper = ["perl", "python3"].find((program) =>
    path.split(delimiter).some((folder) => isExecutable(join(folder, program))),
  );
  if (helper) return good(name, `${helper} can flush a whole file system`);
  return warning(
    name,
    "neither perl nor python3 is installed",
    "Each file is flushed alone, which is slower with many mailboxes. Install perl.",
  );
}

function checkFolder(path: string): Check[] {
  const name = "Data directory";
  const real = nearestExisting(path);
  const status = statSync(real);
  const checks: Check[] = [];
  if (!status.isDirectory()) {
    checks.push(
      bad(name, `${real} is not a folder`, "Move it away, or choose another with --data."),
    );
  } else if (!mayWrite(real)) {
    checks.push(
      bad(name, `this user may not write in ${real}`, "Change its owner, or run as its owner."),
    );
  } else if (real === path && (status.mode & 0o077) !== 0) {
    const mode = (status.mode & 0o777).toString(8);
    checks.push(
      warning(name, `${path} is open to other users (mode ${mode})`, `Run: chmod 700 ${path}`),
    );
  } else {
    checks.push(good(name, real === path ? path : `${path}, to be created in ${real}`));
  }
  return [...checks, ...checkMount("File system", path)];
}

function checkMount(name: string, path: string): Check[] {
  const mount = mountOf(path);
  if (mount === undefined) return [];
  const { kind, text } = judge(mount);
  const [found = text, ...advice] = text.split(/(?<=[a-z])\. /);
  const state = kind === "safe" ? "good" : kind === "doubtful" ? "warning" : "bad";
  return [{ name, state, found, ...(advice.length > 0 && { advice: `${advice.join(". ")}.` }) }];
}

/** Checks the file system of the journal, unless the mail is on the same file system. */
function checkJournalMount(settings: Settings): Check[] {
  const journal = journalFolderOf(settings);
  if (settings.commit !== "journal") return [];
  if (mountOf(journal)?.mountPoint === mountOf(settings.data)?.mountPoint) return [];
  return checkMount("File system of the journal", journal);
}

function checkSpace(path: string, minFreeBytes: number): Check[] {
  const { bavail, bsize, files, ffree } = statfsSync(nearestExisting(path));
  const freeBytes = bavail * bsize;
  const mebibytes = `${Math.floor(freeBytes / 2 ** 20)} MiB free`;
  const space =
    freeBytes >= minFreeBytes
      ? good("Space", mebibytes)
      : bad("Space", mebibytes, "Free some space: when it runs out, mail gets 452.");
  // btrfs creates inodes on demand and reports none.
  if (files === 0) return [space, good("Inodes", "created on demand")];
  const inodes = `${ffree} of ${files} free`;
  const isScarce = ffree < 10_000 || ffree < files / 50;
  return [
    space,
    isScarce
      ? warning(
          "Inodes",
          inodes,
          "Each message needs one. Remove small files, or use XFS or btrfs.",
        )
      : good("Inodes", inodes),
  ];
}

async function checkAddresses(settings: Settings): Promise<Check[]> {
  const checks: Check[] = [];
  for (const name of ["smtp", "lmtp", "http", "metrics"] as const) {
    const listen: ListenAddress | false = settings[name];
    if (listen === false || "path" in listen) continue;
    const error = await listenErrorOf(listen);
    const label = `Address for ${name}`;
    const address = showListenAddress(listen);
    if (error === undefined) checks.push(good(label, `${address} is free`));
    else {
      const [found = "", ...advice] = listenError(name, listen, error).message.split(
        /(?<=[a-z])\. /,
      );
      const next = advice.join(". ") || `Choose another address with ${flagOf(name)}`;
      checks.push(bad(label, found, `${next}.`));
    }
  }
  return checks;
}

/** Listens and stops at once; resolves with the error, or `undefined` if the address is free. */
function listenErrorOf(listen: { readonly host: string; readonly port: number }) {
  return new Promise<unknown>((resolve) => {
    const server = createServer();
    server.once("error", resolve);
    server.listen(listen, () => server.close(() => resolve(undefined)));
  });
}

function runningHere(holder: number): Check {
  return good("Addresses", `in use by the running server (process ${holder})`);
}

/** @internal */
export function checkExposure(settings: Settings): Check {
  const open = (["smtp", "lmtp", "http", "metrics"] as const).filter((name) => {
    const listen: ListenAddress | false = settings[name];
    return listen !== false && !isLoopback(listen);
  });
  if (open.length === 0) return good("Reachable from", "this machine only");
  if (!open.includes("lmtp"))
    return good("Reachable from", `beyond this machine: ${open.join(", ")}`);
  return warning(
    "Reachable from",
    `beyond this machine: ${open.join(", ")}`,
    "LMTP trusts every client (RFC 2033 §5). Bind it to this machine or to a UNIX socket.",
  );
}

function mayWrite(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch (error) {
    if (["EACCES", "EROFS", "EPERM"].includes(errnoOf(error) ?? "")) return false;
    throw error;
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
