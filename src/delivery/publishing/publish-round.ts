/**
 * The second half of a publisher's round (publisher.ts): moves messages from staging into mailboxes
 * by renames, then makes the new names durable by flushes.
 *
 * A mailbox's directory is opened once, checked, and then used by its descriptor only: by path, a
 * mailbox replaced by a symbolic link would deliver into another user's mailbox. The names are
 * flushed on the same descriptor, which is older than the names, so that it reports every failure.
 * Staging is flushed last, when every new name is durable: after a cut each message has its old
 * name, its new name, or both.
 */
import { join, relative, resolve } from "node:path";
import { syncPlan } from "../../maildir/index.ts";
import {
  type Clock,
  type Descriptor,
  type FileSystem,
  type FileSystemSync,
  invariant,
} from "../../system/index.ts";
import { DeliveryError } from "../errors.ts";
import { type FileWorker, inSlices } from "./file-worker.ts";
import { isGone } from "./orphans.ts";
import type { Publication } from "./publication.ts";
import type { Staging } from "./staging.ts";

interface PublishTools {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly fileWorker: FileWorker;
  readonly staging: Staging;
  readonly root: string | undefined;
}

/** One `new/` or `cur/`, held open, and the messages for it. */
interface TargetDirectory {
  readonly directory: Descriptor;
  readonly publications: readonly Publication[];
}

/**
 * Publishes the `"staged"` messages, in order, and makes the names of `"renamed"` ones durable.
 *
 * On return each message is `"published"` or has a `failure`. A message with a failure is
 * `"staged"` when it could not be renamed, and `"logged"`, to be staged again, when its new name
 * could not be flushed.
 *
 * @throws the errno error when staging cannot be flushed; the messages stay `"renamed"`.
 */
export async function publishAll(
  publications: readonly Publication[],
  tools: PublishTools,
): Promise<void> {
  if (publications.length === 0) return;
  const { fileSystem, clock, staging } = tools;
  const sync = await staging.takeSync();
  const targets: TargetDirectory[] = [];
  try {
    const rootPath = kernelPath(tools);
    await inSlices(byDirectory(publications), clock, (slice) => {
      for (const ofDirectory of slice) {
        const target = open(ofDirectory, rootPath, tools);
        if (target !== undefined) targets.push(target);
      }
    });
    await renameAll(targets, tools);
    await syncNames(targets, fileSystem, sync);
    await staging.syncNames();
    for (const { publications } of targets) {
      for (const one of publications) if (one.state === "renamed") one.state = "published";
    }
  } finally {
    for (const { directory } of targets) fileSystem.close(directory);
  }
}

function byDirectory(publications: readonly Publication[]): Publication[][] {
  return [...Map.groupBy(publications, directoryOf).values()];
}

function directoryOf({ mailbox, record }: Publication): string {
  return `${mailbox}/${record.folder}`;
}

/** Opens the directory of these messages and checks that no link led elsewhere. */
function open(
  publications: readonly Publication[],
  rootPath: string | undefined,
  { fileSystem, root = "" }: PublishTools,
): TargetDirectory | undefined {
  const [first] = publications;
  invariant(first !== undefined, "a target directory has a message");
  const path = directoryOf(first);
  let directory: Descriptor | undefined;
  try {
    directory = fileSystem.openDirectory(path);
    const found = fileSystem.pathOf(directory);
    const expected = rootPath && join(rootPath, relative(resolve(root), resolve(path)));
    if (expected === undefined || found === expected) return { directory, publications };
    const text = `${path} leads to ${found}; the message was not published there.`;
    throw new DeliveryError("ERR_DELIVERY_FAILED", text, { path, errno: "ELOOP" });
  } catch (cause) {
    if (directory !== undefined) fileSystem.close(directory);
    for (const one of publications) noteFailure(one, cause);
    return undefined;
  }
}

/** The path of the mail root with links resolved (the root may be a link); `undefined` without. */
function kernelPath({ fileSystem, root }: PublishTools): string | undefined {
  if (root === undefined) return undefined;
  const directory = fileSystem.openDirectory(`${resolve(root)}/.`);
  try {
    return fileSystem.pathOf(directory);
  } finally {
    fileSystem.close(directory);
  }
}

/**
 * Notes why a mailbox could not be opened. A message renamed by an earlier round or process counts
 * as published when the mailbox is gone: it went with the mailbox.
 */
function noteFailure(one: Publication, cause: unknown): void {
  if (one.state === "renamed" && isGone(cause)) one.state = "published";
  else one.failure = cause;
}

async function renameAll(
  targets: readonly TargetDirectory[],
  { fileWorker, staging }: PublishTools,
): Promise<void> {
  const moves = targets.flatMap(({ directory, publications }) =>
    publications
      .filter(({ state }) => state === "staged")
      .map((one) => {
        const { id, fileName } = one.record;
        return { one, move: { from: staging.pathOf(id), directory, name: fileName } };
      }),
  );
  const failures = await fileWorker.rename(moves.map(({ move }) => move));
  invariant(failures.length === moves.length, "each rename has one outcome");
  for (const [position, { one }] of moves.entries()) {
    one.failure = failures[position];
    if (one.failure === undefined) one.state = "renamed";
  }
}

async function syncNames(
  targets: readonly TargetDirectory[],
  fileSystem: FileSystem,
  sync: FileSystemSync | undefined,
): Promise<void> {
  if (sync?.usable && syncPlan("names", targets.length) === "bulk") {
    // A failed flush of the file system does not tell which names were lost; one for each
    // directory does.
    const isDurable = await sync.sync().then(
      () => true,
      () => false,
    );
    if (isDurable) return;
  }
  await Promise.all(targets.map((target) => syncNamesIn(target, fileSystem)));
}

async function syncNamesIn(
  { directory, publications }: TargetDirectory,
  fileSystem: FileSystem,
): Promise<void> {
  try {
    await fileSystem.sync(directory);
  } catch (cause) {
    for (const one of publications) {
      if (one.state !== "renamed") continue;
      one.state = "logged";
      one.failure = cause;
    }
  }
}
