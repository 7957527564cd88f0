/**
 * Holds the documents to the code: the tests, files, links, codes, flags, commands and metrics that
 * a page names exist. Pages and table cells have a maximum length; `longPages` has the exceptions
 * with their reasons. Generated pages and log lines are checked in reference.test.ts.
 */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { test } from "node:test";
import { flagOf, settingNames, variableOf } from "../../src/app/settings/table.ts";

const root = join(import.meta.dirname, "../..");
const documents = ["README.md", "CONTRIBUTING.md", ...globSync("docs/**/*.md", { cwd: root })];
const read = (file: string) => readFileSync(join(root, file), "utf8");
const textOf = (pattern: string) => globSync(pattern, { cwd: root }).map(read).join("\n");
const source = textOf("src/**/*.ts");

const maxReadmeLines = 150;
const maxPageLines = 200;
const longPages: Readonly<Record<string, string>> = {
  "docs/explanation/benchmarks.md": "tables of figures, each of one run",
  "docs/explanation/durability.md": "promise, states and proof belong side by side",
};
const maxCellCharacters = 120;

/** Flags of curl, npm, systemctl and Node, which pages name and this project does not define. */
const flagsOfOthers: readonly string[] = [
  ...["--mail-from", "--mail-rcpt", "--global", "--no-git-tag-version", "--now", "--help"],
  ...["--test", "--max-semi-space-size", "--min-semi-space-size", "--max-old-space-size"],
  "--single-threaded-gc",
];

/** The code spans of a page. */
function spansOf(page: string): string[] {
  const prose = page.replace(/```\w*\n.*?```/gs, "");
  return [...prose.matchAll(/`([^`]+)`/g)].map(([, span = ""]) => span);
}

/** The code spans and code blocks of a page. */
function codeOf(page: string): string[] {
  const blocks = [...page.matchAll(/```\w*\n(.*?)```/gs)].map(([, block = ""]) => block);
  return [...blocks, ...spansOf(page)];
}

/** The matches of `pattern` in the code of all pages that are not `isKnown`, each with its page. */
function unknown(pattern: RegExp, isKnown: (name: string) => boolean): string[] {
  const names = documents.flatMap((document) =>
    codeOf(read(document))
      .flatMap((code) => [...code.matchAll(pattern)].map(([, name = ""]) => name))
      .filter((name) => !isKnown(name))
      .map((name) => `${document}: ${name}`),
  );
  return [...new Set(names)];
}

/** The anchors of a page, as GitHub makes them of its headings. */
function anchorsOf(page: string): Set<string> {
  const headings = page.replace(/```.*?```/gs, "").matchAll(/^#+ (.*)$/gm);
  const anchors = [...headings].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\-_ ]/gu, "")
      .replaceAll(" ", "-"),
  );
  return new Set(anchors);
}

test("every test that a document names is in the file that it names", () => {
  const missing: string[] = [];
  for (const document of documents) {
    // “claim” (`file.test.ts`)
    for (const [, claim = "", file = ""] of read(document).matchAll(
      /“([^”]+)”\s+\(`([^`]+\.test\.ts)`\)/g,
    )) {
      const names = existsSync(join(root, file)) ? read(file).replaceAll('\\"', '"') : "";
      if (!names.includes(claim)) missing.push(`${document}: “${claim}” in ${file}`);
    }
  }
  // The batcher's page names tests of its room without their file.
  const batcherTests = textOf("src/batcher/*.test.ts");
  for (const [, claim = ""] of read("docs/reference/batcher.md").matchAll(/“([^”]+)”/g)) {
    if (!batcherTests.includes(claim)) missing.push(`batcher.md: “${claim}”`);
  }
  assert.deepEqual(missing, []);
});

test("every link between documents leads to a page and a heading of it", () => {
  const broken: string[] = [];
  for (const document of documents) {
    for (const [, target = "", anchor] of read(document).matchAll(
      /\]\(([^)#\s]*)(?:#([^)\s]*))?\)/g,
    )) {
      if (/^[a-z]+:/.test(target)) continue;
      const file = target === "" ? document : normalize(join(dirname(document), target));
      const isThere =
        existsSync(join(root, file)) &&
        (anchor === undefined || anchorsOf(read(file)).has(decodeURIComponent(anchor)));
      if (!isThere)
        broken.push(`${document}: ${target}${anchor === undefined ? "" : `#${anchor}`}`);
    }
  }
  assert.deepEqual(broken, []);
});

test("every file and folder of the project that a document names exists", () => {
  const file = /(?<![\w/.-])((?:src|test|bench|scripts|examples|docs)\/[\w./-]+)/g;
  assert.deepEqual(
    unknown(file, (path) => existsSync(join(root, path))),
    [],
  );
});

test("every error code that a document names is a code of a room", () => {
  assert.deepEqual(
    unknown(/\b(ERR_[A-Z_]+[A-Z])\b/g, (code) => source.includes(`"${code}"`)),
    [],
  );
});

test("every flag and variable that a document names exists", () => {
  const programs = source + textOf("{bench,scripts,test}/**/*.{ts,sh}") + read("package.json");
  const flags = new Set(settingNames.map(flagOf));
  const variables = new Set(settingNames.map(variableOf));
  const isOption = (flag: string) =>
    programs.includes(flag) || programs.includes(`"${flag.slice(2)}"`);
  const isFlag = (flag: string) =>
    flags.has(flag) || isOption(flag) || flagsOfOthers.includes(flag);
  assert.deepEqual(unknown(/(?<![\w-])(--[a-z][a-z-]*)/g, isFlag), []);
  const isVariable = (name: string) => variables.has(name) || programs.includes(name);
  assert.deepEqual(unknown(/\b(POSTBAG_[A-Z_]+[A-Z])\b/g, isVariable), []);
});

test("every option and function that a document names is in the sources", () => {
  // Pages that compare also name options of other systems; decisions name options of the past.
  const isOwn = (document: string) => !/decisions|compared|recipes|benchmarks/.test(document);
  const names = /^(?:\w+\.)?([a-z]+[A-Z]\w+)(?:\(.*\))?$/;
  const missing = documents.filter(isOwn).flatMap((document) =>
    spansOf(read(document)).flatMap((span) => {
      const [, name] = names.exec(span) ?? [];
      const isThere = name === undefined || new RegExp(`\\b${name}\\b`).test(source);
      return isThere ? [] : [`${document}: ${name}`];
    }),
  );
  assert.deepEqual([...new Set(missing)], []);
});

test("every subcommand that a document names exists", () => {
  const command = /new Command\("([a-z-]+)"\)/g;
  const names = new Set([...textOf("src/cli/*.ts").matchAll(command)].map(([, name]) => name));
  const isKnown = (name: string) => names.has(name) || name === "ready"; // "postbag ready" is output.
  assert.deepEqual(unknown(/\bpostbag ([a-z]+)(?![\w-]|\.\w)/g, isKnown), []);
  assert.deepEqual(unknown(/\bpostbag (?:outbox|mailbox) ([a-z]+)/g, isKnown), []);
});

test("every metric that a document names is one of the program's", () => {
  // postbag_destination_… is a parameter of Postfix for a transport named postbag.
  const metric = /\b(postbag_(?!destination)[a-z_]+[a-z])\b/g;
  const isMetric = (name: string) =>
    source.includes(name) || source.includes(`"${name.replace("postbag_outbox_", "")}"`);
  assert.deepEqual(unknown(metric, isMetric), []);
});

test("every reason of /readyz in the guide is one of the program's", () => {
  const reasons = read("docs/guides/something-is-wrong.md").matchAll(/^\* \*\*`(.*?)`\*\*/gm);
  // The fixed texts of a reason, without the places that the program fills in.
  const parts = [...reasons].flatMap(([, reason = ""]) =>
    reason.split(/\bDIR\b|\bERRNO\b|\bN\b|…|\)/),
  );
  const text = source.toLowerCase();
  const missing = parts
    .map((part) =>
      part
        .replace(/^the outbox|:\s*$/g, "")
        .trim()
        .toLowerCase(),
    )
    .filter((part) => !text.includes(part));
  assert.deepEqual(missing, []);
});

test("pages and their table cells are no longer than their limits", () => {
  const tooLong = documents.flatMap((document) => {
    const lines = read(document).split("\n");
    const most =
      document === "README.md" ? maxReadmeLines : longPages[document] ? Infinity : maxPageLines;
    const count = lines.length - 1;
    const cells = lines.filter((line) => line.startsWith("|")).flatMap((line) => line.split("|"));
    const longest = Math.max(0, ...cells.map((cell) => cell.trim().length));
    return [
      ...(count > most ? [`${document}: ${count} lines`] : []),
      ...(longest > maxCellCharacters ? [`${document}: a cell of ${longest} characters`] : []),
    ];
  });
  assert.deepEqual(tooLong, []);
});

test("every example is on a page, character for character", () => {
  const shown = documents.map(read);
  for (const example of globSync("examples/*.ts", { cwd: root })) {
    const isShown = shown.some((page) => page.includes(`\`\`\`ts\n${read(example)}\`\`\``));
    assert.ok(isShown, `no page shows ${example}`);
  }
});
