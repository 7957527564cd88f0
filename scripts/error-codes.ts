/**
 * What each error code means and what to do about it, for docs/reference/errors.md.
 *
 * The tables are typed by the rooms' own unions, so that a new code without an explanation does not
 * compile. `node scripts/reference.ts` writes the page; a test compares it.
 */
import type { AppErrorCode } from "../src/app/index.ts";
import type { BatcherErrorCode } from "../src/batcher/index.ts";
import { exitCodeOf } from "../src/cli/sysexits.ts";
import type { DeliveryErrorCode } from "../src/delivery/index.ts";
import type { JournalErrorCode } from "../src/journal/index.ts";
import type { MaildirErrorCode } from "../src/maildir/index.ts";
import type { OutboxErrorCode } from "../src/outbox/index.ts";
import type { SmtpErrorCode } from "../src/smtp/index.ts";
import type { SystemErrorCode } from "../src/system/index.ts";

interface Explanation {
  readonly meaning: string;
  readonly whatToDo: string;
}
type Explained<Code extends string> = Readonly<Record<Code, Explanation>>;

const mistake = "mend the program; the text shows the value received";

const batcher: Explained<BatcherErrorCode> = {
  ERR_BATCHER_FULL: {
    meaning: "a limit on items or bytes is reached (`scope`, `limit`); the item was not taken",
    whatToDo: 'slow down, raise the limit, or set `onFull: "wait"`',
  },
  ERR_BATCHER_ITEM_TOO_LARGE: {
    meaning: "the item alone is larger than `maxBytes`",
    whatToDo: "split the item, or raise `maxBytes`",
  },
  ERR_BATCHER_CLOSED: {
    meaning: "the batcher was closed before the item was sealed into a batch",
    whatToDo: "hand the item to another batcher; it was never processed",
  },
  ERR_BATCHER_BATCH_FAILED: {
    meaning: "`process` threw or rejected; all items of the batch fail (`cause`)",
    whatToDo: "see `cause`; return `fail(reason)` to fail one item alone",
  },
  ERR_BATCHER_ACQUIRE_FAILED: {
    meaning: "`acquire` threw or rejected; the items were never processed (`cause`)",
    whatToDo: "see `cause`; adding the item again is safe",
  },
  ERR_BATCHER_OUTPUT_COUNT: {
    meaning: "`process` did not return one output for each item (`expected`, `actual`)",
    whatToDo: "mend `process`",
  },
  ERR_BATCHER_DRAIN_TIMEOUT: {
    meaning: "`close({ timeoutMs })` ran out of time (`queued`, `inFlight`)",
    whatToDo: "queued items were rejected; items in flight still settle",
  },
  ERR_BATCHER_BAD_OPTION: { meaning: "an option has a value it cannot have", whatToDo: mistake },
  ERR_BATCHER_BAD_SIZE: {
    meaning: "`sizeOf` threw, or returned no finite number from 0 up",
    whatToDo: "mend `sizeOf`",
  },
};

const maildir: Explained<MaildirErrorCode> = {
  ERR_MAILDIR_INVALID_ARGUMENT: {
    meaning: "an argument has a value it cannot have",
    whatToDo: mistake,
  },
  ERR_MAILDIR_NOT_A_MAILDIR: {
    meaning: "the path is a file, or lacks `new/`, `cur/` or `tmp/`",
    whatToDo: "move the file away, or make the mailbox with `Maildir.create`",
  },
  ERR_MAILDIR_SYMLINK: {
    meaning: "a directory below the mail root is a symbolic link; it is not followed",
    whatToDo: "replace the link by a directory or a mount",
  },
  ERR_MAILDIR_DIRECTORY_FAILED: {
    meaning: "a directory of the mailbox could not be read or made",
    whatToDo: "check owner, permissions and space (`errno`, `path`)",
  },
  ERR_MAILDIR_WRITE_FAILED: {
    meaning: "the message could not be written to `tmp/`; nothing is visible",
    whatToDo: "check the disk (`errno`), then deliver again",
  },
  ERR_MAILDIR_BODY_SIZE: {
    meaning: "the spooled body is shorter or longer than stated",
    whatToDo: "mend the program that wrote the spool file",
  },
  ERR_MAILDIR_SYNC_FAILED: {
    meaning: "the message or its name could not be made durable",
    whatToDo: "check the disk; with `mayRemain` a repeat can be a second copy",
  },
  ERR_MAILDIR_PUBLISH_FAILED: {
    meaning: "the message could not be renamed into `new/` or `cur/`",
    whatToDo: "check permissions and quota (`errno`), then deliver again",
  },
  ERR_MAILDIR_NOT_FOUND: {
    meaning: "no message with this id is in `new/` or `cur/`",
    whatToDo: "nothing: a reader has removed it",
  },
  ERR_MAILDIR_ACCESS_FAILED: {
    meaning: "listing, reading, marking or removing failed",
    whatToDo: "check owner and permissions (`errno`, `path`)",
  },
};

const delivery: Explained<DeliveryErrorCode> = {
  ERR_DELIVERY_FAILED: {
    meaning: "the message could not be stored; nothing of it is visible",
    whatToDo: "check the disk (`errno`, `cause`), then deliver again",
  },
  ERR_DELIVERY_IN_DOUBT: {
    meaning: "the disk thread ended or failed with the message; it may or may not be stored",
    whatToDo: "end the process without answering; recovery decides",
  },
  ERR_DELIVERY_CLOSED: {
    meaning: "the executor is closed, or its disk thread is gone; the message was not taken",
    whatToDo: "open an executor and deliver again",
  },
  ERR_DELIVERY_TOO_LARGE: {
    meaning: "the body alone exceeds `maxPendingBytes`",
    whatToDo: "spool it to a file, or raise the limit",
  },
  ERR_DELIVERY_JOURNAL: {
    meaning: "the journal could not be opened or understood (`journalCode`, `cause`)",
    whatToDo: "see [postbag/journal](#the-journal) and `postbag doctor`",
  },
  ERR_DELIVERY_ORPHANED: {
    meaning: "the message is durable in `orphans/`, because its mailbox is gone or refused it",
    whatToDo: "[orphans](../guides/something-is-wrong.md#orphans)",
  },
  ERR_DELIVERY_OPTION: { meaning: "an option has a value it cannot have", whatToDo: mistake },
};

const journal: Explained<JournalErrorCode> = {
  ERR_JOURNAL_OPTION: { meaning: "an option has a value it cannot have", whatToDo: mistake },
  ERR_JOURNAL_FULL: {
    meaning: "no room for new frames is left, or none can be made; nothing was written",
    whatToDo: "raise `--journal-segments`; check the disk's space",
  },
  ERR_JOURNAL_FRAME_TOO_LARGE: {
    meaning: "one frame is larger than a segment can hold",
    whatToDo: "raise `--journal-segment-bytes`",
  },
  ERR_JOURNAL_WRITE_FAILED: {
    meaning: "the disk refused the frame twice; nothing of it counts",
    whatToDo: "repair the disk; it is tried again by itself",
  },
  ERR_JOURNAL_LOCKED: {
    meaning: "another process has the journal open",
    whatToDo: "stop the other process",
  },
  ERR_JOURNAL_VERSION: {
    meaning: "a segment was written by a version that this one does not understand",
    whatToDo: "[exit 78](../guides/something-is-wrong.md#exit-78)",
  },
  ERR_JOURNAL_OPEN_FAILED: {
    meaning: "the directory or a segment could not be made, read or written while opening",
    whatToDo: "check the disk (`errno`)",
  },
  ERR_JOURNAL_DAMAGED: {
    meaning: "a part of the log cannot be trusted; its segments stay",
    whatToDo: "[a damaged journal](../guides/something-is-wrong.md#a-damaged-journal)",
  },
  ERR_JOURNAL_CLOSED: {
    meaning: "the journal was closed before the call, or before its end",
    whatToDo: "open it again",
  },
};

const outbox: Explained<OutboxErrorCode> = {
  ERR_OUTBOX_OPTION: { meaning: "an option has a value it cannot have", whatToDo: mistake },
  ERR_OUTBOX_MAIL: {
    meaning: "the mail cannot be sent as it is: no recipient, a malformed address, too large",
    whatToDo: "mend the mail; a repeat fails the same way",
  },
  ERR_OUTBOX_IDEMPOTENCY_CONFLICT: {
    meaning: "the key belongs to another mail (`id`); nothing was enqueued",
    whatToDo: "use a key of its own for each mail",
  },
  ERR_OUTBOX_TRANSACTION: {
    meaning: "this store cannot write through a `tx` of this kind",
    whatToDo: "[kinds of `tx`](../guides/send-from-your-app.md#sqlite)",
  },
  ERR_OUTBOX_STORE: {
    meaning: "the database refused or cannot be reached (`cause`); nothing was acknowledged",
    whatToDo: "try again; roll back a `tx`",
  },
  ERR_OUTBOX_IN_DOUBT: {
    meaning: "the store ended during a write; it may or may not be durable",
    whatToDo: "try again, with an `idempotencyKey`",
  },
  ERR_OUTBOX_SCHEMA_VERSION: {
    meaning: "the tables are older or newer than this program",
    whatToDo: "[migrate](../guides/several-machines.md#migrations), or update the program",
  },
  ERR_OUTBOX_CLOSED: {
    meaning: "the outbox or its store was closed; nothing was taken",
    whatToDo: "open it again",
  },
  ERR_OUTBOX_NOT_FOUND: {
    meaning: "no message or delivery has this id",
    whatToDo: "check the id; ended mail is removed after 30 days",
  },
};

const smtp: Explained<SmtpErrorCode> = {
  ERR_SMTP_OPTION_INVALID: { meaning: "an option has a value it cannot have", whatToDo: mistake },
  ERR_SMTP_LISTEN_FAILED: {
    meaning: "the address cannot be listened on (`cause`)",
    whatToDo: "choose another address, or free this one",
  },
  ERR_SMTP_SOCKET_IN_USE: {
    meaning: "another program answers on the UNIX socket",
    whatToDo: "stop the other program, or choose another path",
  },
  ERR_SMTP_SPOOL_UNUSABLE: {
    meaning: "the spool directory cannot be read or written",
    whatToDo: "check owner and permissions",
  },
  ERR_SMTP_OUTCOME_COUNT: {
    meaning: "a `Deliver` did not return one outcome for each recipient",
    whatToDo: "mend the `Deliver`; the client received a 4yz",
  },
  ERR_SMTP_DKIM: {
    meaning: "a message cannot be signed",
    whatToDo: "check the key: RSA, PEM, readable",
  },
};

const system: Explained<SystemErrorCode> = {
  ERR_SYSTEM_INVALID_ARGUMENT: {
    meaning: "an argument has a value it cannot have",
    whatToDo: mistake,
  },
  ERR_SYSTEM_HELPER_GONE: {
    meaning: "the helper that flushes a file system ended by itself",
    whatToDo: "nothing: files are then flushed one by one",
  },
  ERR_SYSTEM_HELPER_SLOW: {
    meaning: "the helper did not answer in time",
    whatToDo: "check the disk",
  },
  ERR_SYSTEM_CLOSED: {
    meaning: "the object was closed before the call",
    whatToDo: "open it again",
  },
  ERR_SYSTEM_NODE_VERSION: {
    meaning: "this Node is too old; thrown by the import",
    whatToDo: "install the Node that the text names",
  },
};

const app: Explained<AppErrorCode> = {
  ERR_APP_USAGE: {
    meaning: "the command line is wrong",
    whatToDo: "see the command's `--help`",
  },
  ERR_APP_SETTING_UNKNOWN: {
    meaning: "no setting has this name",
    whatToDo: "the text names the nearest one; [settings](settings.md)",
  },
  ERR_APP_SETTING_INVALID: {
    meaning: "a setting has a value it cannot have",
    whatToDo: "the text names what is allowed",
  },
  ERR_APP_CONFIG_FILE: {
    meaning: "the configuration file cannot be read, or is no JSON object",
    whatToDo: "check it with `postbag config --check`",
  },
  ERR_APP_DATA_DIRECTORY: {
    meaning: "the data directory cannot be made or used",
    whatToDo: "check its owner and permissions",
  },
  ERR_APP_DATA_IN_USE: {
    meaning: "another Postbag uses the data directory",
    whatToDo: "stop it, or choose another `--data`",
  },
  ERR_APP_FILE_SYSTEM: {
    meaning: "the file system would lose mail in a power cut",
    whatToDo: "use ext4, XFS or btrfs, or `--file-system-check warn`",
  },
  ERR_APP_JOURNAL: {
    meaning: "the journal is not understood, or is damaged; a restart does not help",
    whatToDo: "[exit 78](../guides/something-is-wrong.md#exit-78)",
  },
  ERR_APP_JOURNAL_NOT_NOW: {
    meaning: "the journal cannot be opened, or publish what it owes, for a reason that may pass",
    whatToDo: "see the reason; try again",
  },
  ERR_APP_OUTBOX: {
    meaning: "the outbox cannot be used as it is; a restart does not help",
    whatToDo: "see the reason: schema, address, missing `pg`",
  },
  ERR_APP_OUTBOX_NOT_NOW: {
    meaning: "the outbox cannot be used now, for a reason that may pass",
    whatToDo: "check the file or the database; try again",
  },
  ERR_APP_NOT_FOUND: {
    meaning: "no message, delivery or outbox is there under this name",
    whatToDo: "check the id and `--data` or `--store`",
  },
  ERR_APP_CONFLICT: {
    meaning: "the idempotency key belongs to another mail",
    whatToDo: "use another key",
  },
  ERR_APP_LISTEN: {
    meaning: "an address cannot be listened on",
    whatToDo: "choose another port, or free this one",
  },
  ERR_APP_ADDRESS: {
    meaning: "this is no mail address",
    whatToDo: "write `you@example.org`",
  },
  ERR_APP_NO_MAILBOX: {
    meaning: "no such mailbox is here",
    whatToDo: "make it: `postbag mailbox create ADDRESS`",
  },
  ERR_APP_MESSAGE: {
    meaning: "there is no message on standard input, or it is too large",
    whatToDo: "check what is piped in",
  },
  ERR_APP_DELIVERY: {
    meaning: "the message could not be stored, for a reason that may pass",
    whatToDo: "check the disk; the calling mail system tries again",
  },
};

interface Room {
  readonly title: string;
  readonly intro: string;
  readonly codes: Readonly<Record<string, Explanation>>;
}

const rooms: readonly Room[] = [
  { title: "postbag/batcher", intro: "`BatcherError`.", codes: batcher },
  {
    title: "postbag/maildir",
    intro: "`MaildirError`, with `path`, `errno` and `mayRemain`.",
    codes: maildir,
  },
  {
    title: "postbag/delivery",
    intro: "`DeliveryError`, with `path`, `errno` and `journalCode`.",
    codes: delivery,
  },
  {
    title: "The journal",
    intro: "Seen as `cause` or `journalCode` of `ERR_DELIVERY_JOURNAL`, and in the log.",
    codes: journal,
  },
  { title: "postbag/outbox", intro: "`OutboxError`, with `id`.", codes: outbox },
  { title: "postbag/smtp", intro: "`SmtpError`.", codes: smtp },
  { title: "postbag/system", intro: "`SystemError`.", codes: system },
];

const introduction = `# Error codes

Generated by \`scripts/reference.ts\` from \`scripts/error-codes.ts\`. Each room has one error class; \`code\` is
stable, \`cause\` is the error underneath. What a remote server answers is an outcome, not an error. An abort
rejects with the signal's reason, and a failed system call keeps Node's own code, such as \`ENOSPC\`.
`;

/** Renders docs/reference/errors.md. */
export function errorsMarkdown(): string {
  const sections = rooms.map(({ title, intro, codes }) => {
    const rows = Object.entries(codes).map(
      ([code, { meaning, whatToDo }]) => `| \`${code}\` | ${meaning} | ${whatToDo} |`,
    );
    const head = ["| code | meaning | what to do |", "|---|---|---|"];
    return `## ${title}\n\n${intro}\n\n${[...head, ...rows].join("\n")}\n`;
  });
  const commands = Object.entries(app).map(
    ([code, { meaning, whatToDo }]) =>
      `| \`${code}\` | ${exitCodeOf(code as AppErrorCode)} | ${meaning} | ${whatToDo} |`,
  );
  const head = ["| code | exit | meaning | what to do |", "|---|---|---|---|"];
  const commandLine = `## The command line\n\nThe exit code follows sysexits.h.\n\n${[...head, ...commands].join("\n")}\n`;
  return [introduction, ...sections, commandLine].join("\n");
}
