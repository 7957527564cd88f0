/**
 * Runs a program with the batcher in a realm of its own: its globals are those of the language, the
 * console and the ones named as arguments. Importing a module outside src/batcher throws.
 *
 * Usage: node --experimental-vm-modules web-realm.ts GLOBAL,GLOBAL… PROGRAM
 */
import { readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { createContext, type Module, SourceTextModule } from "node:vm";

const [globals = "", program = ""] = process.argv.slice(2);
const room = new URL("../../src/batcher/", import.meta.url);
const host = globalThis as unknown as Record<string, unknown>;
const given = globals.split(",").map((name) => [name, host[name]] as const);
const context = createContext({ console, ...Object.fromEntries(given) });
const modules = new Map<string, Module>();

function load(specifier: string, parent: { readonly identifier: string }): Module {
  const url = new URL(specifier, parent.identifier);
  if (!specifier.startsWith("./") || !url.href.startsWith(room.href)) {
    throw new Error(`${parent.identifier} imports ${specifier}`);
  }
  const known = modules.get(url.href);
  if (known) return known;
  const source = stripTypeScriptTypes(readFileSync(url, "utf8"));
  const made = new SourceTextModule(source, { identifier: url.href, context });
  modules.set(url.href, made);
  return made;
}

const main = new SourceTextModule(`import { Batcher } from "./index.ts";\n${program}`, {
  identifier: new URL("program.ts", room).href,
  context,
});
await main.link(load);
await main.evaluate();
