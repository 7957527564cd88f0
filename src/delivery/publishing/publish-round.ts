/**
 * From staging into the mailboxes: renames, then the flushes that make the new names last.
 *
 * A mailbox's directory is opened once, looked at, and then used by its descriptor only: by path, a
 * mailbox exchanged for a symbolic link would put mail into another user's box. The names are flushed on
 * the same descriptor, which is older than they are. Staging is flushed last, when every new name is
 * durable: never may a message be in neither place.
 */
import { join, relative, resolve } from "node:path";
import type { Clock, Descriptor, FileSystem, FileSystemSync } from "../../system/index.ts";
import { syncPlan } from "../bulk-sync.ts";
import { DeliveryError } from "../errors.ts";
import { inSlices, type Porter } from "./file-worker.ts";
import { isGone } from "./orphans.ts";
import type { Mailing } from "./publication.ts";
import type { Staging } from "./staging.ts";

export interface PublishTools {
  readonly fileSystem: FileSystem;
  readonly clock: Clock;
  readonly porter: Porter;
  readonly staging: Staging;
  readonly root: string | undefined;
}

/** The messages for one `new/` or `cur/`, and the descriptor it is held by. */
interface Pigeonhole {
  readonly directory: Descriptor;
  readonly mailings: readonly Mailing[];
}

/**
 * Publishes what is `"staged"`, in order, and makes what is `"renamed"` durable.
 *
 * On return each is `"published"`, or has an `obstacle`: then it is `"staged"` still, or `"logged"` when
 * the disk did not keep its new name and it must be staged again.
 *
 * @throws the errno error when staging cannot be flushed; the messages stay `"renamed"`.
 */
export async function publishAll(mailings: readonly Mailing[], tools: PublishTools): Promise<void> {
  if (mailings.length === 0) return;
  const { fileSystem, clock, staging } = tools;
  const sync = await staging.bulkSync();
  const holes: Pigeonhole[] = [];
  try {
    const rootPath = kernelPath(tools);
    await inSlices(byDirectory(mailings), clock, (slice) => {
      for (const ofDirectory of slice) {
        const hole = open(ofDirectory, rootPath, tools);
        if (hole !== undefined) holes.push(hole);
      }
    });
    await renameAll(holes, tools);
    await keepNames(holes, fileSystem, sync);
    await staging.syncNames();
    for (const { mailings } of holes) {
      for (const one of mailings) if (one.state === "renamed") one.state = "published";
    }
  } finally {
    for (const { directory } of holes) fileSystem.close(directory);
  }
}

function byDirectory(mailings: readonly Mailing[]): Mailing[][] {
  return [...Map.groupBy(mailings, directoryOf).values()];
}

function directoryOf({ mailbox, record }: Mailing): string {
  return `${mailbox}/${record.folder}`;
}

/** Opens the directory these messages belong in, and sees that it is the one meant. */
function open(
  mailings: readonly Mailing[],
  rootPath: string | undefined,
  { fileSystem, root = "" }: PublishTools,
): Pigeonhole | undefined {
  const path = directoryOf(mailings[0]!);
  let directory: Descriptor | undefined;
  try {
    directory = fileSystem.openDirectory(path);
    const found = fileSystem.pathOf(directory);
    const meant = rootPath && join(rootPath, relative(resolve(root), resolve(path)));
    if (meant === undefined || found === meant) return { directory, mailings };
    throw new DeliveryError("ERR_DELIVERY_FAILED", `${path} leads to ${found}`, {
      path,
      errno: "ELOOP",
    });
  } catch (cause) {
    if (directory !== undefined) fileSystem.close(directory);
    for (const one of mailings) block(one, cause);
    return undefined;
  }
}

/** The mail root as the kernel knows it: it may be a link itself. */
function kernelPath({ fileSystem, root }: PublishTools): string | undefined {
  if (root === undefined) return undefined;
  const directory = fileSystem.openDirectory(`${resolve(root)}/.`);
  try {
    return fileSystem.pathOf(directory);
  } finally {
    fileSystem.close(directory);
  }
}

/** A message published earlier needs nothing more when its mailbox is gone with it. */
function block(one: Mailing, cause: unknown): void {
  if (one.state === "renamed" && isGone(cause)) one.state = "published";
  else one.obstacle = cause;
}

async function renameAll(
  holes: readonly Pigeonhole[],
  { porter, staging }: PublishTools,
): Promise<void> {
  const moves = holes.flatMap(({ directory, mailings }) =>
    mailings
      .filter(({ state }) => state === "staged")
      .map((one) => {
        const { id, fileName } = one.record;
        return { one, move: { from: staging.pathOf(id), directory, name: fileName } };
      }),
  );
  const obstacles = await porter.rename(moves.map(({ move }) => move));
  for (const [position, { one }] of moves.entries()) {
    one.obstacle = obstacles[position];
    if (one.obstacle === undefined) one.state = "renamed";
  }
}

async function keepNames(
  holes: readonly Pigeonhole[],
  fileSystem: FileSystem,
  sync: FileSystemSync | undefined,
): Promise<void> {
  if (sync?.usable && syncPlan("names", holes.length) === "bulk") {
    // It does not say whose names were lost; the directories held open know.
    const kept = await sync.sync().then(
      () => true,
      () => false,
    );
    if (kept) return;
  }
  await Promise.all(holes.map((hole) => keepNamesOf(hole, fileSystem)));
}

async function keepNamesOf(
  { directory, mailings }: Pigeonhole,
  fileSystem: FileSystem,
): Promise<void> {
  try {
    await fileSystem.sync(directory);
  } catch (cause) {
    for (const one of mailings) {
      if (one.state !== "renamed") continue;
      one.state = "logged";
      one.obstacle = cause;
    }
  }
}
