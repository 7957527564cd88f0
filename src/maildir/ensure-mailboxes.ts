/**
 * Makes mailboxes durable before mail for them is acknowledged: missing directories are made, and
 * all from `new/`, `cur/` and `tmp/` up to the mail root are flushed, once per process.
 */
import { MaildirError } from "./errors.ts";
import { type Mailbox, type MailboxTools, prepareMailbox } from "./mailbox.ts";
import { openDirectories } from "./open-directories.ts";

/**
 * Prepares and flushes the mailboxes at these paths; directories they share are flushed once.
 *
 * @returns For each path its mailbox, or the reason why it cannot be used. On return every mailbox
 *   survives a power cut.
 */
export async function ensureMailboxes(
  paths: Iterable<string>,
  tools: MailboxTools,
): Promise<ReadonlyMap<string, Mailbox | MaildirError>> {
  const directories = openDirectories(tools.fileSystem);
  // All are made before the first flush begins: a flush covers only changes made before it.
  const prepared = [...new Set(paths)].map((path) => ({ path, mailbox: preparedOrError(path) }));
  try {
    const durable = prepared.map(
      async ({ path, mailbox }) => [path, await synced(path, mailbox)] as const,
    );
    return new Map(await Promise.all(durable));
  } finally {
    directories.close();
  }

  function preparedOrError(path: string): Mailbox | MaildirError {
    try {
      const mailbox = prepareMailbox(path, tools);
      for (const directory of mailbox.unflushed) directories.open(directory);
      return mailbox;
    } catch (error) {
      return error instanceof MaildirError ? error : notDurable(path, error);
    }
  }

  async function synced(
    path: string,
    mailbox: Mailbox | MaildirError,
  ): Promise<Mailbox | MaildirError> {
    if (mailbox instanceof MaildirError || mailbox.unflushed.length === 0) return mailbox;
    try {
      await directories.syncAll(mailbox.unflushed);
      tools.known.remember(mailbox);
      return { ...mailbox, unflushed: [] };
    } catch (error) {
      return notDurable(path, error);
    }
  }
}

function notDurable(path: string, cause: unknown): MaildirError {
  const text = `mailbox ${path} is not durable: its directories could not be flushed`;
  return new MaildirError("ERR_MAILDIR_SYNC_FAILED", text, { path, cause });
}
