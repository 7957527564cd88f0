/**
 * Removes one guard at a time from delivery through the journal, and requires that a test fails.
 */
import { type Mutation, testMutations } from "../../support/mutation.ts";

const powerCuts = "delivery/power-cuts.test.ts";
const eachCut = "^file flushes, names any: no cut";
const eachKill = "^file flushes, names any: no kill";
const bulkCut = "^bulk flushes, names any: no cut";
const cases = "publishing-cases.test.ts";
const recovery = "recovery-cases.test.ts";
const wrongVolumes = "wrong-volumes.test.ts";
const lostBulk = "^staged data lost in write-back is staged again, bulk";

const mutations: readonly Mutation[] = [
  {
    guard: "a missing file counts as published only on a recognised volume",
    edits: [
      [
        "volumes.ts",
        "    if (recognises(found, expected, journal.starts)) return",
        "    if (found === undefined) this.#makeDirectory(this.#stagingOf(directory));\n    if (recognises(found ?? expected, expected, journal.starts)) return",
      ],
    ],
    test: wrongVolumes,
    only: "^mail of a missing volume",
  },
  {
    guard: "an older copy of a volume is recognised by its start counter",
    edits: [["identity.ts", "    found.starts >= expected.starts &&\n", ""]],
    test: wrongVolumes,
    only: "^an older copy",
  },
  {
    guard: "mail is published by descriptor, not by path",
    edits: [
      [
        "publish-round.ts",
        "directory, name: fileName }",
        "directory, name: join(directoryOf(one), fileName) }",
      ],
      [
        "file-worker.ts",
        "fileSystem.renameInto(from, directory, name);",
        "void directory;\n    fileSystem.rename(from, name);",
      ],
    ],
    test: "publish-round.test.ts",
  },
  {
    guard: "an opened directory must be the mailbox's own",
    edits: [
      [
        "publish-round.ts",
        "if (expected === undefined || found === expected) return",
        'if (expected === undefined || found !== "") return',
      ],
    ],
    test: "publish-round.test.ts",
  },
  {
    guard: "a failed message is logged again before PUBLISHED passes it",
    edits: [
      [
        "publisher.ts",
        "const lsns = await this.#tools.logAgain(records);",
        "const lsns = records.map(() => this.#reach + 1n);",
      ],
    ],
    test: cases,
    only: "^messages logged again",
  },
  {
    guard: "messages logged again are split into several frames if necessary",
    edits: [
      [
        "frame-log.ts",
        "if (!isTooLarge(error) || records.length < 2) throw error;",
        "throw error;",
      ],
    ],
    test: "held-mail.test.ts",
    only: "^more than one segment",
  },
  {
    guard: "held messages are logged again before they block segments",
    edits: [["publisher.ts", "    await this.#logHeldAgain();\n", ""]],
    test: "held-mail.test.ts",
    only: "^the log reuses its segments",
  },
  {
    guard: "messages whose names could not be flushed are published again",
    edits: [
      [
        "publish-round.ts",
        '      one.state = "logged";\n      one.failure = cause;',
        "      void cause;",
      ],
    ],
    test: cases,
    only: "^names whose flush failed",
  },
  {
    guard: "the data of staged files is flushed before DURABLE",
    edits: [
      [
        "staging.ts",
        "return record.receivedMs === undefined ? fileSystem.syncData(file) : fileSystem.sync(file);",
        "return record.receivedMs === undefined ? undefined : file;",
      ],
    ],
    test: powerCuts,
    only: eachCut,
  },
  {
    guard: "the names of staged files are flushed before DURABLE",
    edits: [
      [
        "staging.ts",
        "this.#stageSlice(slice));\n      await fileSystem.sync(directory);",
        "this.#stageSlice(slice));",
      ],
    ],
    test: powerCuts,
    only: eachCut,
  },
  {
    guard: "many staged files are flushed with their file system",
    edits: [["staging.ts", "    await sync.sync();\n", ""]],
    test: powerCuts,
    only: bulkCut,
  },
  {
    guard: "the bulk flush is opened before the files it covers",
    edits: [
      [
        "staging.ts",
        "    await sync.sync();\n",
        "    await (await this.#tools.openFileSystemSync(this.path))?.sync();\n    void sync;\n",
      ],
    ],
    test: cases,
    only: lostBulk,
  },
  {
    guard: "after a failed flush all files are staged again",
    edits: [
      [
        "staging.ts",
        "      await this.#stageEach(publications);\n    }\n    for",
        "    }\n    for",
      ],
    ],
    test: cases,
    only: lostBulk,
  },
  {
    guard: "DURABLE is written before the first rename",
    edits: [
      [
        "publisher.ts",
        "await this.#mark({ durable: reach });",
        "this.#marks = { ...this.#marks, durable: reach };",
      ],
    ],
    test: powerCuts,
    only: eachKill,
  },
  {
    guard: "DURABLE is on the disk before the first rename",
    edits: [
      [
        "publisher.ts",
        "await this.#mark({ durable: reach });",
        "{\n      void this.#tools.mark({ durable: reach }, 0);\n      this.#marks = { ...this.#marks, durable: reach };\n    }",
      ],
    ],
    test: "publisher.test.ts",
  },
  {
    guard: "every touched new/ is flushed before PUBLISHED",
    edits: [["publish-round.ts", "    await fileSystem.sync(directory);\n", ""]],
    test: powerCuts,
    only: eachCut,
  },
  {
    guard: "names found published by recovery are flushed before PUBLISHED",
    edits: [
      [
        "replay.ts",
        '    case "flush names":\n      return todo("renamed");',
        '    case "flush names":\n      return { step, todo: undefined };',
      ],
    ],
    test: recovery,
    only: "^names any: recovery interrupted",
  },
  {
    guard: "PUBLISHED does not pass an unpublished message",
    edits: [
      [
        "schedule.ts",
        "const done = first !== undefined && first.lsn <= reach ? first.lsn - 1n : reach;",
        "const done = first === undefined ? reach : reach;",
      ],
    ],
    test: cases,
    only: "^messages logged again|on rename delays",
  },
  {
    guard: "staging is swept after the log was read, not before",
    edits: [
      [
        "recovery/recovery.ts",
        "      const logged = ",
        "      staging.sweep(new Set(), true);\n      const logged = ",
      ],
    ],
    test: powerCuts,
    only: `${eachCut}|${eachKill}`,
  },
  {
    guard: "a message that a reader removed is not published again",
    edits: [
      [
        "replay.ts",
        '    case "flush names":\n      return todo("renamed");',
        '    case "flush names":\n      return todo("logged");',
      ],
    ],
    test: powerCuts,
    only: eachKill,
  },
  {
    guard: "a file that has another name is not renamed over it",
    edits: [
      ["replay.ts", '.links > 1 ? "one of several names"', '.links > 99 ? "one of several names"'],
    ],
    test: powerCuts,
    only: eachCut,
  },
  {
    guard: "the mailbox's directories are durable before the log has the message",
    edits: [["ensure-mailboxes.ts", "await directories.syncAll(mailbox.unflushed);", ""]],
    test: powerCuts,
    only: eachCut,
  },
  {
    guard: "a large body is durable before a frame refers to it",
    edits: [
      [
        "large-bodies.ts",
        "      await this.#fileSystem.syncData(file);\n      await staging.syncNames();\n",
        "",
      ],
    ],
    test: powerCuts,
    only: eachCut,
  },
  {
    guard: "a large body stays until PUBLISHED",
    edits: [
      [
        "publisher.ts",
        "    if (reach > this.#marks.durable)",
        "    for (const { record } of inReach) if (record.large) staging.remove(record.large.name);\n    if (reach > this.#marks.durable)",
      ],
    ],
    test: recovery,
    only: "^a large body survives",
  },
  {
    guard: "a log older than the volume is recognised by the start counter",
    edits: [["identity.ts", "found.starts <= journalStarts", "journalStarts > 0n"]],
    test: wrongVolumes,
    only: "^an identity newer than the log",
  },
  {
    guard: "the volume's id is compared",
    edits: [["identity.ts", "    found.volume === expected.volume &&\n", ""]],
    test: wrongVolumes,
    only: "^an identity of another volume",
  },
  {
    guard: "a staging directory is locked",
    edits: [
      [
        "volumes.ts",
        "this.#unlocks.set(staging, fileSystem.lock(join(staging, stagingNames.lock)));",
        "this.#unlocks.set(staging, () => undefined);",
      ],
    ],
    test: wrongVolumes,
    only: "^a staging directory locked by another",
  },
  {
    guard: "strays are removed only after a log without damage",
    edits: [["recovery/recovery.ts", "damage.length === 0", "damage.length >= 0"]],
    test: wrongVolumes,
    only: "^with a damaged log",
  },
  {
    guard: "a probe is renamed into the mailbox before it may use the journal",
    edits: [
      ["volumes.ts", "probe(volume.staging, mailbox, this.#tools.fileSystem)", "(probe, true)"],
    ],
    test: cases,
    only: "^a mailbox in its own quota tree",
  },
  {
    guard: "staging is flushed before PUBLISHED",
    edits: [["publish-round.ts", "    await staging.syncNames();\n", ""]],
    test: powerCuts,
    only: "^file flushes, names any: no (cut|kill)",
  },
];

testMutations(mutations);
