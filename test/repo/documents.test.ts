/** The documents name tests and files as evidence; here is checked that the evidence exists. */
import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { errorsMarkdown } from "../../scripts/error-codes.ts";

const root = join(import.meta.dirname, "../..");
const documents = ["README.md", "CONTRIBUTING.md", ...globSync("docs/**/*.md", { cwd: root })];
const read = (file: string) => readFileSync(join(root, file), "utf8");

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
  assert.deepEqual(missing, []);
});

test("every link between documents leads somewhere", () => {
  const broken: string[] = [];
  for (const document of documents) {
    for (const [, target = ""] of read(document).matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      if (!existsSync(join(root, dirname(document), target))) broken.push(`${document}: ${target}`);
    }
  }
  assert.deepEqual(broken, []);
});

test("every source file that a document names exists", () => {
  const missing: string[] = [];
  for (const document of documents) {
    for (const [, file = ""] of read(document).matchAll(
      /`((?:src|test|bench|scripts|examples)\/[\w./-]+\.\w+)`/g,
    )) {
      if (!existsSync(join(root, file))) missing.push(`${document}: ${file}`);
    }
  }
  assert.deepEqual(missing, []);
});

test("docs/reference/errors.md is what scripts/error-codes.ts prints", () => {
  assert.equal(read("docs/reference/errors.md"), errorsMarkdown());
});
