/**
 * Holds the language: retired words stay out of sources, documents and test names, and comment
 * lines of src/ have at most 100 columns.
 *
 * Names count as their words: `createFace` is "create face". Where a word is right, the text around
 * it is listed in `allowed`, or the file in `exceptIn`, with the reason.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

interface RetiredWord {
  /** The pattern of the word's forms, matched as whole words in lower case. */
  readonly word: RegExp;
  /** The word to use instead of the retired one. */
  readonly use: string;
  /** Texts in which the word is right. */
  readonly allowed?: readonly RegExp[];
  /** Files in which the word is right. */
  readonly exceptIn?: RegExp;
}

const retired: readonly RetiredWord[] = [
  { word: /porters?/, use: "file worker" },
  { word: /branch(es)?/, use: "volume publisher" },
  { word: /pigeonholes?/, use: "target directory" },
  {
    word: /letters?/,
    use: "message or delivery",
    allowed: [
      /dead[- ]letter/, // A term of queues, and a state of ours.
      /letter by letter/,
      /(flag|maildir) letters?|letters? of (a |the )?flags?/, // maildir(5) calls flags letters.
      /letters? (and|or) digits?|(upper|lower)[- ]case letters?/,
    ],
    // Letters of the alphabet; flag letters.
    exceptIn: /batcher\/list\.test|src\/maildir\/|settings\/table/,
  },
  { word: /bundles?/, use: "mailbox batch", allowed: [/bundl(e|es) for (a )?browsers?/] },
  { word: /mailings?/, use: "publication" },
  { word: /bells?/, use: "wake signal" },
  { word: /guests?/, use: "user callbacks" },
  { word: /faces?/, use: "status app" },
  {
    word: /entr(y|ies)/,
    use: "item, delivery or record",
    allowed: [
      /director(y|ies)('s)? entr|entr(y|ies) of (a|the) director/, // A name in a directory.
      /entry: thread entry|thread entr(y|ies)|entry (point|file|module)/, // A program's.
      /entries\(|no entry/, // Of an Object or a Map; `throwIfNoEntry` of node:fs.
    ],
    // `Entry` is a public type of the Maildir room; a thread's entry file; an Object's entries; a
    // log entry of nodemailer's; an entry of a DNS zone.
    exceptIn:
      /maildir\/(index|lookup|maildir)|thread|content-hash|cli\/config|client\/(dkim|session|mx\.test)/,
  },
  { word: /ledgers?/, use: "expectations" },
  { word: /offices?/, use: "harness" },
  { word: /deeds?/, use: "action" },
  { word: /labs?/, use: "test bench" },
  { word: /witness(es)?/, use: "harness" },
  { word: /worlds?/, use: "harness" },
  { word: /patience|patient/, use: "retry options" },
  { word: /keepers?/, use: "session pool" },
  { word: /zones?/, use: "next step", allowed: [/time zone/], exceptIn: /client\/mx\.test/ },
  {
    word: /mail file systems?/,
    use: "volume",
    allowed: [/volume \((one )?mail file system\)/], // Its definition.
  },
  { word: /obstacles?/, use: "reason" },
  // A column of the outbox's tables.
  { word: /troubles?/, use: "failure", exceptIn: /postgres\/(read|schema)/ },
  { word: /post offices?/, use: "(no metaphor)" },
  {
    word: /octets?/,
    use: "bytes",
    allowed: [/rfc \d+[^.]*octets?|octets?[^.]*rfc \d+/], // An RFC's term, beside its number.
    exceptIn: /rfc-coverage|mail\/(address|mailbox|intake)|smtp\/server\/session\/commands/,
  },
  { word: /whoever|whomever/, use: "the noun" },
  { word: /somebody|someone/, use: "the noun" },
  { word: /nobody/, use: "no and the noun" },
];

const root = join(import.meta.dirname, "../..");
const read = (file: string) => readFileSync(join(root, file), "utf8");
const sources = globSync("src/**/*.ts", { cwd: root }).sort();
const documents = ["README.md", "CONTRIBUTING.md", ...globSync("docs/**/*.md", { cwd: root })];
const tests = globSync("{src,test}/**/*.test.ts", { cwd: root }).sort();

/** The words of a text in lower case: names are taken apart, line ends in comments are spaces. */
function wordsOf(text: string): string {
  return text
    .replace(/\n\s*(\*|\/\/)?\s*/g, " ")
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replaceAll("_", " ")
    .toLowerCase();
}

/** The retired words in the text of a file, each with its count and the word to use instead. */
function retiredIn(file: string, text: string): string[] {
  const words = wordsOf(text);
  return retired.flatMap(({ word, use, allowed = [], exceptIn }) => {
    if (exceptIn?.test(file)) return [];
    const rest = allowed.reduce((left, right) => left.replace(new RegExp(right, "g"), ""), words);
    const found = rest.match(new RegExp(`\\b(${word.source})\\b`, "g")) ?? [];
    return found.length === 0 ? [] : [`${found[0]} (${found.length} times; use ${use})`];
  });
}

/** The names of a file's tests. */
function testNames(text: string): string {
  const names = text.matchAll(
    /\b(?:test|it|describe|suite)(?:\.\w+)?\(\s*(["'`])((?:\\.|(?!\1)[^\\])*)\1/g,
  );
  return [...names].map(([, , name]) => name).join("\n");
}

function report(files: readonly string[], textOf: (file: string) => string): string[] {
  return files.flatMap((file) => retiredIn(file, textOf(file)).map((found) => `${file}: ${found}`));
}

test("a retired word is found in names and over line ends, and not inside other words", () => {
  const found = (text: string) => retiredIn("src/a.ts", text).map((line) => line.split(" ")[0]);
  assert.deepEqual(found("createFace(); // tells some\n// body, nobody"), ["face", "nobody"]);
  assert.deepEqual(found(" * of the mail\n * file system"), ["mail"]);
  assert.deepEqual(found("interface; the dead letter; Object.entries(x); NO_LETTERS"), ["letters"]);
});

test("no source uses a retired word", () => {
  assert.deepEqual(report(sources, read), []);
});

test("no document uses a retired word", () => {
  assert.deepEqual(report(documents, read), []);
});

test("no test name uses a retired word", () => {
  assert.deepEqual(
    report(tests, (file) => testNames(read(file))),
    [],
  );
});

test("no comment line in src is longer than 100 columns", () => {
  const long = sources.flatMap((file) =>
    read(file)
      .split("\n")
      .flatMap((line, index) => {
        const isComment = /^\s*(\/\/|\/?\*)/.test(line) || / \/\/ /.test(line);
        return isComment && line.length > 100 ? [`${file}:${index + 1}: ${line.length}`] : [];
      }),
  );
  assert.deepEqual(long, []);
});
