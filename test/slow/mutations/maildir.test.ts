/** Leaves out one guard of the Maildir commit at a time, and requires that a test goes red. */
import { type Mutation, testMutations } from "../../support/mutation.ts";

interface Removal extends Omit<Mutation, "edits"> {
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

const sweep = "maildir/power-cuts.test.ts";
const faults = "disk-faults.test.ts";

const removals: readonly Removal[] = [
  {
    guard: "the data of each file is flushed",
    file: "write.ts",
    from: "await (delivery.receivedAt ? fileSystem.sync(file) : fileSystem.syncData(file));",
    to: "",
    test: sweep,
    only: "each: a cut",
  },
  {
    guard: "the data of a batch is flushed in bulk",
    file: "write.ts",
    from: "await tools.syncFileSystem?.(path);",
    to: "",
    test: sweep,
    only: "bulk: a cut",
  },
  {
    guard: "a received date is flushed with the file",
    file: "write.ts",
    from: "delivery.receivedAt ? fileSystem.sync(file) : fileSystem.syncData(file)",
    to: "fileSystem.syncData(file)",
    test: sweep,
    only: "each: a cut",
  },
  {
    guard: "new/ and cur/, and the directories above them, are flushed",
    file: "rename.ts",
    from: "await directories.syncAll(beforeTmp);",
    to: "void beforeTmp;",
    test: sweep,
    only: "each: a cut",
  },
  {
    guard: "new/ itself is flushed, not only what lies above it",
    file: "rename.ts",
    from: "const first = [...targets, ...mailbox.unflushed]",
    to: "const first = [...targets.slice(targets.length), ...mailbox.unflushed]",
    test: sweep,
    only: "each: a cut",
  },
  {
    guard: "tmp/ is flushed after them",
    file: "rename.ts",
    from: "await directories.syncAll([mailbox.tmp]);",
    to: "",
    test: sweep,
    only: "each: a cut",
  },
  {
    guard: "the names of a batch are flushed in bulk",
    file: "rename.ts",
    from: "await syncFileSystem?.(path);",
    to: "void syncFileSystem;",
    test: sweep,
    only: "bulk: a cut",
  },
  {
    guard: "the directories above the mailbox are flushed",
    file: "maildir/mailbox.ts",
    from: "unflushed: [places.new, places.cur, places.tmp, ...upward]",
    to: "unflushed: [places.new, places.cur, places.tmp, ...upward.slice(upward.length)]",
    test: sweep,
    only: "each: a cut",
  },
  {
    guard: "the mail root is flushed as well",
    file: "maildir/mailbox.ts",
    from: "return [...below(root, mailbox.path).reverse(), followed(resolve(root))];",
    to: "return below(root, mailbox.path).reverse();",
    test: sweep,
    only: "each: a (cut|kill)",
  },
  {
    guard: "directories are flushed whether or not this process made them",
    file: "maildir/mailbox.ts",
    from: "if (known.has(mailbox)) return mailbox;",
    to: "if (known.has(mailbox) || !isNew) return mailbox;",
    test: sweep,
    only: "each: a kill",
  },
  {
    guard: "a mailbox counts as known only after its directories were flushed",
    file: "maildir/mailbox.ts",
    from: "if (known.has(mailbox)) return mailbox;",
    to: "if (known.has(mailbox)) return mailbox;\n  known.remember(mailbox);",
    test: "deliver.test.ts",
  },
  {
    guard: "a failed flush is never repeated on the same file",
    file: "write.ts",
    from: "return cause ?? new Error",
    to: "return undefined ?? new Error",
    test: faults,
  },
  {
    guard: "a second flush of a damaged file is not believed",
    file: "write.ts",
    from: "fileSystem.syncData(file));",
    to: "fileSystem.syncData(file).catch(() => fileSystem.syncData(file)));",
    test: sweep,
    only: "each, names any: failing",
  },
  {
    guard: "after a failed bulk flush every message is written again",
    file: "write.ts",
    from: 'await syncEach(written, tools, "again");',
    to: "",
    test: sweep,
    only: "bulk, names any: failing",
  },
  {
    guard: "after a failed bulk flush of names every directory is asked",
    file: "rename.ts",
    from: "    return false;\n  }\n}\n\nasync function syncNamesOf",
    to: "    return true;\n  }\n}\n\nasync function syncNamesOf",
    test: sweep,
    only: "bulk, names any: failing",
  },
  {
    guard: "directories are opened before anything is renamed",
    file: "open-directories.ts",
    from: "fileSystem.sync(descriptor)",
    to: "syncedLate(path, fileSystem)",
    test: faults,
    only: "another flush received first",
  },
  {
    guard: "a message whose name is not durable is removed",
    file: "rename.ts",
    from: "const mayRemain = !unlinked(path, tools.fileSystem);",
    to: "const mayRemain = false;",
    test: faults,
  },
  {
    guard: "a failed draft is removed, and its descriptor closed",
    file: "write.ts",
    from: "if (file !== undefined) closeQuietly(file, fileSystem);",
    to: "",
    test: faults,
  },
  {
    guard: "a file is made only where there is none (O_EXCL)",
    file: "node-file-system.ts",
    from: "O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW",
    to: "O_WRONLY | O_CREAT | O_NOFOLLOW",
    test: "deliver.test.ts",
  },
  {
    guard: "links are not followed below the mail root",
    file: "maildir/mailbox.ts",
    from: 'if (status.kind === "symlink") {',
    to: 'if (status.kind === "symlink") {\n    return fileSystem.status(followed(path));',
    test: "deliver.test.ts",
  },
  {
    guard: "names differ from one start of the process to the next",
    file: "name.ts",
    from: "random ?? randomBytes(8)",
    to: "random ?? new Uint8Array(8)",
    test: "name.test.ts",
  },
  {
    guard: "names differ within one instant",
    file: "name.ts",
    from: "count += 1;",
    to: "",
    test: "name.test.ts",
  },
  {
    guard: "tmp/ is not cleaned of work under way",
    file: "maildir/maildir.ts",
    from: " || this.#tools.names.isOwn(name)) return false;",
    to: ") return false;",
    test: "maildir/maildir.test.ts",
  },
  {
    guard: "who comes during a file system flush waits for the next",
    file: "share-next.ts",
    from: "next ??= current.then(start, start);\n    return next;",
    to: "return current;",
    test: "share-next.test.ts",
  },
  {
    guard: "a file system flush that failed once is spent",
    file: "file-system-sync.ts",
    from: "failure = error;",
    to: "",
    test: "file-system-sync.test.ts",
  },
  {
    guard: "a durable write flushes the file before it takes the name",
    file: "system/durable-write.ts",
    from: "await fileSystem.sync(file);\n      open = false;",
    to: "open = false;",
    test: "durable-write.test.ts",
  },
  {
    guard: "a durable write flushes the directory",
    file: "system/durable-write.ts",
    from: "await fileSystem.sync(directory);",
    to: "",
    test: "durable-write.test.ts",
  },
];

/** What a mutated source needs besides, to still be a program. */
const companions: Record<string, readonly [string, string]> = {
  "directories are opened before anything is renamed": [
    "function closeQuietly(",
    `function syncedLate(path: string, fileSystem: FileSystem): Promise<void> {
      const directory = fileSystem.openDirectory(path);
      return fileSystem.sync(directory).finally(() => fileSystem.close(directory));
    }
    function closeQuietly(`,
  ],
  "directories are flushed whether or not this process made them": [
    "  const own =\n    root === undefined",
    '  let isNew = false;\n  try {\n    fileSystem.status(join(mailboxPath, "cur"));\n  } catch {\n    isNew = true;\n  }\n  const own =\n    root === undefined',
  ],
};

testMutations(
  removals.map(({ guard, file, from, to, ...where }) => {
    const companion = companions[guard];
    const edits: Mutation["edits"][number][] = [[file, from, to]];
    if (companion) edits.push([file, ...companion]);
    return { guard, edits, ...where };
  }),
);
