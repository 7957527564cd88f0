/**
 * Makes mailboxes durable before mail is promised to them: directories that are missing are made, and
 * all that lead from `new/`, `cur/` and `tmp/` up to the mail root are flushed, once per process.
 */
import { MaildirError } from "./errors.ts";
import { type Mailbox, type MailboxTools, prepareMailbox } from "./mailbox.ts";
import { openDirectories } from "./open-directories.ts";

/**
 * Prepares and flushes the mailboxes at these paths; directories they share are flushed once.
 *
 * @returns For each path its mailbox, or why it cannot be used. On return every mailbox survives a
 *   power cut.
 */
export async function ensureMailboxes(
  paths: Iterable<string>,
  tools: MailboxTools,
): Promise<ReadonlyMap<string, Mailbox | MaildirError>> {
  const directories = openDirectories(tools.fileSystem);
  // All are made before the first flush begins: one that has begun says nothing of what comes later.
  const prepared = [...new Set(paths)].map((path) => ({ path, mailbox: preparedOrRefused(path) }));
  try {
    const kept = prepared.map(
      async ({ path, mailbox }) => [path, await flushed(path, mailbox)] as const,
    );
    return new Map(await Promise.all(kept));
  } finally {
    directories.close();
  }

  function preparedOrRefused(path: string): Mailbox | MaildirError {
    try {
      const mailbox = prepareMailbox(path, tools);
      for (const directory of mailbox.unflushed) directories.open(directory);
      return mailbox;
    } catch (error) {
      return error instanceof MaildirError ? error : notKept(path, error);
    }
  }

  async function flushed(
    path: string,
    mailbox: Mailbox | MaildirError,
  ): Promise<Mailbox | MaildirError> {
    if (mailbox instanceof MaildirError || mailbox.unflushed.length === 0) return mailbox;
    try {
      await directories.flushAll(mailbox.unflushed);
      tools.known.remember(mailbox);
      return { ...mailbox, unflushed: [] };
    } catch (error) {
      return notKept(path, error);
    }
  }
}

function notKept(path: string, cause: unknown): MaildirError {
  return new MaildirError("ERR_MAILDIR_SYNC_FAILED", `the disk did not keep mailbox ${path}`, {
    path,
    cause,
  });
}
