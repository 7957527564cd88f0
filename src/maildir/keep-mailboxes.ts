/**
 * Makes mailboxes durable before mail is promised to them: directories that are missing are made, and
 * all that lead from `new/`, `cur/` and `tmp/` up to the mail root are flushed, once per process.
 */
import { MaildirError } from "./errors.ts";
import { heldDirectories } from "./held-directories.ts";
import { type Mailbox, type MailboxTools, prepareMailbox } from "./mailbox.ts";

/**
 * Prepares and flushes the mailboxes at these paths; directories they share are flushed once.
 *
 * @returns For each path its mailbox, or why it cannot be used. On return every mailbox survives a
 *   power cut.
 */
export async function keepMailboxes(
  paths: Iterable<string>,
  tools: MailboxTools,
): Promise<ReadonlyMap<string, Mailbox | MaildirError>> {
  const directories = heldDirectories(tools.fileSystem);
  const kept = new Map<string, Mailbox | MaildirError>();
  try {
    await Promise.all(
      [...new Set(paths)].map(async (path) => {
        kept.set(path, await keptOrRefused(path));
      }),
    );
    return kept;
  } finally {
    directories.close();
  }

  async function keptOrRefused(path: string): Promise<Mailbox | MaildirError> {
    try {
      const mailbox = prepareMailbox(path, tools);
      if (mailbox.unflushed.length === 0) return mailbox;
      for (const directory of mailbox.unflushed) directories.open(directory);
      await directories.flushAll(mailbox.unflushed);
      tools.known.remember(mailbox);
      return { ...mailbox, unflushed: [] };
    } catch (error) {
      if (error instanceof MaildirError) return error;
      return new MaildirError("ERR_MAILDIR_SYNC_FAILED", `the disk did not keep mailbox ${path}`, {
        path,
        cause: error,
      });
    }
  }
}
