/** Removes one guard of the journal at a time and requires that a test fails. */
import { type Mutation, testMutations } from "../../support/mutation.ts";

type Edit = Mutation["edits"][number];

const sweep = "journal/power-cuts.test.ts";
const units = "journal/journal.test.ts";
const goodCut = "a cut at any instant on a good";
const goodKill = "kills at any instant on a good";
const badKill = "kills at any instant on a failing";
const many = "many short runs";

const log = "journal/log.ts";
const writer = "record-writer.ts";
const twoInFlight: readonly Edit[] = [
  [
    log,
    "next = this.#next()) await this.#carryOut(next);",
    "next = this.#next()) {\n      void this.#carryOut(next);\n      await new Promise((done) => setImmediate(done));\n    }",
  ],
  [
    writer,
    "    try {\n      await fileSystem.writeAt(segment.file.file, bytes, segment.position);",
    "    const start = segment.position;\n    state.written(segment, frame, encoded);\n    try {\n      await fileSystem.writeAt(segment.file.file, bytes, start);",
  ],
  [writer, "at: segment.position + at,", "at: start + at,"],
  [
    writer,
    "    state.written(segment, frame, encoded);\n    this.counts.writes += 1;",
    "    this.counts.writes += 1;",
  ],
];

const adopt = `  adopt(found, files, fileSystem) {
    const last = found
      .filter(({ scan }) => scan.state === "segment")
      .sort((a, b) => (a.scan.header.generation < b.scan.header.generation ? -1 : 1))
      .at(-1);
    const record = last?.scan.records.at(-1);
    if (record === undefined) return;
    const { generation, random } = last.scan.header;
    this.#state.older = this.#state.older.filter((older) => older.generation !== generation);
    const path = \`\${files.directory}/\${last.name}\`;
    this.#state.current = {
      file: { name: last.name, file: fileSystem.openForLog(path) },
      generation,
      random,
      position: record.at + 4096 * Math.ceil((80 + record.infoBytes + record.payloadBytes) / 4096),
      count: record.count + 1,
      highest: new Map(last.scan.records.flatMap((r) => r.volumes.map((v) => [v, r.lsn]))),
    };
  }

  opened(): void {`;

const mutations: readonly Mutation[] = [
  {
    guard: "one log write is in flight at a time",
    edits: twoInFlight,
    test: sweep,
    only: goodCut,
  },
  {
    guard: "no record is appended to a segment of another process",
    edits: [
      ["journal/log.ts", "  opened(): void {", adopt],
      [
        "journal.ts",
        "const { contents } = readLog(files);",
        "const { contents, found: segments } = readLog(files);",
      ],
      [
        "journal.ts",
        "        const found = await rewrite",
        "        log.adopt(segments, files, fileSystem);\n        const found = await rewrite",
      ],
    ],
    test: sweep,
    only: `${badKill}|${many}`,
  },
  {
    guard: "no record is appended to a segment whose write failed",
    edits: [[writer, "      pool.abandon(segment);\n", ""]],
    test: sweep,
    only: many,
  },
  {
    guard: "a segment whose write failed is never reused",
    edits: [
      [
        "segment-pool.ts",
        "    this.#files.close(segment.file.file);\n    if (segment.count > 0) {\n      this.#state.retire(segment, false);",
        "    if (segment.count > 0) {\n      this.#state.retire(segment, true);",
      ],
    ],
    test: sweep,
    only: many,
  },
  {
    guard: "a segment is reused only after PUBLISHED is on the disk",
    edits: [
      [
        log,
        "    const merged = this.#state.mark(volume, marks);\n",
        `    const merged = this.#state.mark(volume, marks);
    const { marks: known, older } = this.#state;
    const isPublished = ([name, lsn]) => (known.get(name)?.published ?? 0n) >= lsn;
    this.#pool.release(older.filter((each) => !each.isPinned && [...each.highest].every(isPublished)));\n`,
      ],
    ],
    test: sweep,
    only: goodCut,
  },
  {
    guard: "the directory is synced before the first record of a new segment",
    edits: [["segment-files.ts", "      await syncDirectory(fileSystem, this.directory);\n", ""]],
    test: sweep,
    only: goodCut,
  },
  {
    guard: "the parents that were made are synced",
    edits: [
      [
        "segment-files.ts",
        "    fileSystem.makeDirectory(path, 0o700);\n    await syncDirectory(fileSystem, parent);\n",
        "    fileSystem.makeDirectory(path, 0o700);\n",
      ],
    ],
    test: sweep,
    only: goodCut,
  },
  {
    guard: "existing parents are synced: a killed process may have made them",
    edits: [
      ["segment-files.ts", "    await syncDirectory(fileSystem, parent);\n  } catch", "  } catch"],
    ],
    test: sweep,
    only: goodKill,
  },
  {
    guard: "ABORT is written",
    edits: [["log-state.ts", "      endCount: count,\n", "      endCount: 0xffff_ffff,\n"]],
    test: sweep,
    only: many,
  },
  {
    guard: "ABORT is honoured",
    edits: [
      [
        "contents.ts",
        "const records = scan.records.filter(({ count }) => count < endCount);",
        "const { records } = scan;",
      ],
    ],
    test: sweep,
    only: many,
  },
  {
    guard: "no frame is accepted before ABORT is written",
    edits: [[log, 'this.#setMode("repairing");\n    for', 'this.#setMode("accepting");\n    for']],
    test: units,
    only: "after a second failure",
  },
  {
    guard: "the random bits of a segment are compared",
    edits: [
      [
        "format.ts",
        "head.generation === header.generation && Buffer.compare(head.random, header.random) === 0",
        "head.generation === header.generation",
      ],
    ],
    test: "scan.test.ts",
  },
  {
    guard: "the generation of a record is compared",
    edits: [["format.ts", "head.generation === header.generation && Buffer", "Buffer"]],
    test: "format.test.ts",
  },
  {
    guard: "the checksum of the head is checked",
    edits: [
      [
        "format.ts",
        '  if (head.readUInt32BE(8) !== crc32(head.subarray(12))) return { state: "none" };\n',
        "",
      ],
    ],
    test: "format.test.ts",
  },
  {
    guard: "the checksum of the body is checked",
    edits: [["format.ts", "crc32(body) === head.readUInt32BE(72)", "body.length >= 0"]],
    test: "format.test.ts",
  },
  {
    guard: "an unknown version is refused",
    edits: [["read-log.ts", 'if (scan.state === "foreign")', 'if (scan.state === "never")']],
    test: units,
    only: "a later version",
  },
  {
    guard: "the last frame of every older segment is copied before open returns",
    edits: [["journal.ts", "if (!doubtful || copies.has(doubtful.lsn)) continue;", "continue;"]],
    test: sweep,
    only: `${badKill}|${goodKill}|${many}`,
  },
  {
    guard: "the state of the log is rewritten before open returns",
    edits: [["journal.ts", "  await log.writeState();\n  const copies", "  const copies"]],
    test: sweep,
    only: goodCut,
  },
  {
    guard: "a mark resolves when it is on the disk",
    edits: [
      [
        "mark-waiters.ts",
        "      this.#waiters.push({ resolve, reject });\n",
        "      this.#waiters.push({ resolve, reject });\n      resolve();\n",
      ],
    ],
    test: sweep,
    only: goodCut,
  },
  {
    guard: "a generation is higher than every one before",
    edits: [
      ["log-state.ts", "this.#generation = options.highestGeneration;", "this.#generation = 0n;"],
    ],
    test: sweep,
    only: goodCut,
  },
  {
    guard: "new mail never gets the reserved spare",
    edits: [["place.ts", 'claim === "mail" ? 1 : 0', 'claim === "mail" ? 0 : 0']],
    test: units,
    only: "only the reserved spare",
  },
  {
    guard: "a hole before valid frames is damage",
    edits: [["scan.ts", "if (count > expected) holes.push([expected, count]);", ""]],
    test: units,
    only: "damage is reported",
  },
  {
    guard: "a segment cut short before acknowledged frames is damage",
    edits: [["contents.ts", "  if (isShort) damage.push", "  if (found < 0) damage.push"]],
    test: units,
    only: "a missing segment",
  },
  {
    guard: "a listed segment that is missing is damage",
    edits: [
      [
        "contents.ts",
        "      ...missing.map((wanted) =>",
        "      ...missing.slice(missing.length).map((wanted) =>",
      ],
    ],
    test: units,
    only: "a missing segment",
  },
  {
    guard: "segments of a damaged log stay",
    edits: [["journal.ts", "    !isDamaged && frames.every(", "    frames.every("]],
    test: units,
    only: "damage is reported",
  },
  {
    guard: "a frame that waits for room does not hold up the marks that make room",
    edits: [["next-write.ts", ' || frame === "wait")', ")"]],
    test: "next-write.test.ts",
  },
  {
    guard: "onAccepting reports that the journal accepts again",
    edits: [
      [
        log,
        "queueMicrotask(() => this.#onAccepting?.(isAccepting));",
        "if (!isAccepting) this.#onAccepting?.(false);",
      ],
    ],
    test: units,
    only: "onAccepting",
  },
  {
    guard: "onAccepting is called only for a log that has opened",
    edits: [[log, "if (this.#last === undefined || ", "if ("]],
    test: units,
    only: "onAccepting",
  },
  {
    guard: "onAccepting is not called once close has begun",
    edits: [[log, "if (!this.#isClosed) this.#report", "this.#report"]],
    test: units,
    only: "onAccepting",
  },
  {
    guard: "segments are set aside under the lock",
    edits: [
      [
        "set-aside.ts",
        "const unlock = fileSystem.lock(join(directory, lockName));",
        "const unlock = () => join(directory, lockName);",
      ],
    ],
    test: "set-aside.test.ts",
  },
  {
    guard: "the lock is taken",
    edits: [
      [
        "journal.ts",
        "      fileSystem.lock(join(directory, lockName)),\n",
        "      (() => { join(directory, lockName); return () => undefined; })(),\n",
      ],
    ],
    test: units,
    only: "never share a directory",
  },
];

testMutations(mutations);
