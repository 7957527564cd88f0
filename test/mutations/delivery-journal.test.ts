/** Makes one mistake at a time in delivery through the journal, and requires that a test goes red. */
import { type Mutation, testMutations } from "../support/mutation.ts";

const sweep = "test/simulation/journal-delivery.test.ts";
const eachCut = "^each file flushed: a cut";
const eachKill = "^each file flushed: a kill";
const bulkCut = "^whole file systems flushed: a cut";
const bulkBad = "^whole file systems flushed, a failing disk";

const mutations: readonly Mutation[] = [
  {
    guard: "the data of staged files is flushed before DURABLE",
    edits: [
      [
        "src/delivery/staging.ts",
        "return record.receivedMs === undefined ? fileSystem.syncData(file) : fileSystem.sync(file);",
        "return record.receivedMs === undefined ? undefined : file;",
      ],
    ],
    test: sweep,
    only: eachCut,
  },
  {
    guard: "the names of staged files are flushed before DURABLE",
    edits: [
      [
        "src/delivery/staging.ts",
        "        await this.#turn();\n      }\n      await fileSystem.sync(directory);",
        "        await this.#turn();\n      }",
      ],
    ],
    test: sweep,
    only: eachCut,
  },
  {
    guard: "many staged files are flushed with their file system",
    edits: [["src/delivery/staging.ts", "    await sync.sync();\n", ""]],
    test: sweep,
    only: bulkCut,
  },
  {
    guard: "the helper that flushes is older than the files it vouches for",
    edits: [
      [
        "src/delivery/staging.ts",
        "    await sync.sync();\n",
        "    await (await this.#tools.openFileSystemSync(this.path))?.sync();\n    void sync;\n",
      ],
    ],
    test: sweep,
    only: bulkBad,
  },
  {
    guard: "what was not kept is staged again to new files",
    edits: [
      [
        "src/delivery/staging.ts",
        "      await this.#keepEach(mailings);\n    }\n    for",
        "    }\n    for",
      ],
    ],
    test: sweep,
    only: bulkBad,
  },
  {
    guard: "DURABLE is written before the first rename",
    edits: [["src/delivery/publisher.ts", "      await mark({ durable: reach });\n", ""]],
    test: sweep,
    only: eachKill,
  },
  {
    guard: "DURABLE is on the disk before the first rename",
    edits: [
      [
        "src/delivery/publisher.ts",
        "      await mark({ durable: reach });\n",
        "      void mark({ durable: reach });\n",
      ],
    ],
    test: sweep,
    only: eachKill,
  },
  {
    guard: "every touched new/ is flushed before PUBLISHED",
    edits: [["src/delivery/publish.ts", "    await fileSystem.sync(directory);\n", ""]],
    test: sweep,
    only: eachCut,
  },
  {
    guard: "what recovery finds published is flushed before PUBLISHED",
    edits: [
      [
        "src/delivery/replay.ts",
        '    case "flush names":\n      return todo("renamed");',
        '    case "flush names":\n      return { step, todo: undefined };',
      ],
    ],
    test: sweep,
    only: eachKill,
  },
  {
    guard: "PUBLISHED does not pass what is not published",
    edits: [
      [
        "src/delivery/publisher.ts",
        "return open !== undefined && open.lsn <= this.#reach ? open.lsn - 1n : this.#reach;",
        "return open === undefined ? this.#reach : this.#reach;",
      ],
    ],
    test: sweep,
    only: "a failing disk",
  },
  {
    guard: "staging is swept after the log was read, not before",
    edits: [
      [
        "src/delivery/recoverer.ts",
        "      const owed = ",
        "      sweep(staging, new Set(), true, fileSystem);\n      const owed = ",
      ],
    ],
    test: sweep,
    only: `${eachCut}|${eachKill}`,
  },
  {
    guard: "a message that a reader consumed is not made again",
    edits: [
      [
        "src/delivery/replay.ts",
        '    case "flush names":\n      return todo("renamed");',
        '    case "flush names":\n      return todo("logged");',
      ],
    ],
    test: sweep,
    only: eachKill,
  },
  {
    guard: "a file that has another name is not renamed over it",
    edits: [
      [
        "src/delivery/replay.ts",
        '.links > 1 ? "one of several names"',
        '.links > 99 ? "one of several names"',
      ],
    ],
    test: sweep,
    only: eachCut,
  },
  {
    guard: "the mailbox's directories are durable before the log has the message",
    edits: [
      ["src/maildir/keep-mailboxes.ts", "await directories.flushAll(mailbox.unflushed);", ""],
    ],
    test: sweep,
    only: eachCut,
  },
  {
    guard: "a large body is durable before a frame refers to it",
    edits: [
      [
        "src/delivery/large-bodies.ts",
        "      await this.#fileSystem.syncData(file);\n      await staging.syncNames();\n",
        "",
      ],
    ],
    test: sweep,
    only: eachCut,
  },
  {
    guard: "a large body stays until PUBLISHED",
    edits: [
      [
        "src/delivery/publisher.ts",
        "if (record.large) this.#spent.push({ name: record.large.name, lsn });",
        "if (record.large) this.#tools.staging.remove(record.large.name);\n      void lsn;",
      ],
      [
        "src/delivery/publisher.ts",
        "    await publishAll(due, this.#tools);\n",
        "    for (const { record } of due) if (record.large) staging.remove(record.large.name);\n    await publishAll(due, this.#tools);\n",
      ],
    ],
    test: sweep,
    only: eachCut,
  },
];

testMutations(mutations);
