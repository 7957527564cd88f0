/**
 * The package as a user has it: packed, installed in an empty folder, each subpath imported, its
 * command run. Needs the package registry or a cache with the dependencies; skipped without both.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { after, before, test } from "node:test";
import { sendMessage } from "../../process/support/client.ts";
import { filesIn, run, serve } from "../../process/support/postbag.ts";
import { temporaryDirectory } from "../../support/temporary.ts";

const root = join(import.meta.dirname, "../../..");
const folder = temporaryDirectory({ after }, "package");
const app = join(folder, "app");
const command = [process.execPath, join(app, "node_modules/postbag/bin/postbag.js")] as const;
let missing: string | undefined;

/** Runs a program to its end and returns its standard output; fails when the program fails. */
function sh(cwd: string, program: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd, encoding: "utf8" });
  assert.equal(status, 0, `${program} ${args.join(" ")}:\n${stdout}${stderr}`);
  return stdout;
}

before(() => {
  // `npm pack` builds, so it runs in a copy: another build may be running in the checkout.
  const source = join(folder, "source");
  const { files } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const parts = [
    "package.json",
    "README.md",
    "LICENSE",
    "src",
    "scripts",
    "tsconfig.json",
    "tsconfig.build.json",
  ];
  for (const part of [...parts, ...files].filter((name) => name !== "dist")) {
    if (!existsSync(join(root, part))) continue; // A test below checks the files of the package.
    cpSync(join(root, part), join(source, part), { recursive: true });
  }
  symlinkSync(join(root, "node_modules"), join(source, "node_modules"));
  sh(source, "npm", "pack", "--silent", "--pack-destination", folder);
  const { version } = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
  const tarball = join(folder, `postbag-${version}.tgz`);
  cpSync(tarball, join(app, "postbag.tgz"));
  writeFileSync(join(app, "package.json"), '{"private": true, "type": "module"}\n');
  const install = ["install", "--prefer-offline", "--no-audit", "--no-fund", "./postbag.tgz"];
  const { status, stderr } = spawnSync("npm", install, { cwd: app, encoding: "utf8" });
  if (status !== 0 && /ENOTFOUND|EAI_AGAIN|ENOTCACHED|ECONNREFUSED|ETIMEDOUT/.test(stderr)) {
    missing = "needs the package registry";
    return;
  }
  assert.equal(status, 0, stderr);
});

test("the package holds program, docs and examples, but no sources or tests", (t) => {
  if (missing) return t.skip(missing);
  const listed = sh(app, "tar", "-tzf", "postbag.tgz").trim().split("\n");
  for (const file of [
    "bin/postbag.js",
    "dist/cli/main.js",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "examples/outbox.ts",
    "docs/README.md",
  ]) {
    assert.ok(listed.includes(`package/${file}`), file);
  }
  const strays = listed.filter((path) =>
    /\.test\.|^package\/(?!examples\/).*(?<!\.d)\.ts$|^package\/(src|test|node_modules)\//.test(
      path,
    ),
  );
  assert.deepEqual(strays, []);
});

test("publint finds nothing to improve in the package", (t) => {
  if (missing) return t.skip(missing);
  const publint = join(root, "node_modules/.bin/publint");
  sh(app, publint, "--strict", "--pack", "false", join(app, "node_modules/postbag"));
});

test("every subpath is imported and the executor delivers one message", (t) => {
  if (missing) return t.skip(missing);
  const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const doors = Object.keys(exports).filter((path) => path !== "./package.json");
  const script = `
    for (const door of ${JSON.stringify(doors)}) {
      const names = Object.keys(await import(door.replace(".", "postbag")));
      if (names.length === 0) throw new Error(door + " is empty");
    }
    const { DeliveryExecutor } = await import("postbag/delivery");
    const executor = await DeliveryExecutor.open();
    const id = await executor.deliver(${JSON.stringify(join(folder, "Maildir"))}, Buffer.from("Subject: x\\n\\nx\\n"));
    await executor.close();
    const { createOutbox, openSqliteStore } = await import("postbag/outbox");
    await using outbox = createOutbox({ store: await openSqliteStore({ file: "outbox.db" }) });
    await outbox.enqueue({ from: "a@example.org", to: "b@example.com", subject: "x", text: "x" });
    console.log(id);
  `;
  writeFileSync(join(app, "try.js"), script);
  const id = sh(app, process.execPath, "try.js").trim();
  assert.equal(readFileSync(join(folder, "Maildir/new", id), "utf8"), "Subject: x\n\nx\n");
});

test("the root is imported and required with the everyday API", (t) => {
  if (missing) return t.skip(missing);
  const names = ["Batcher", "DeliveryExecutor", "Maildir", "Outbox", "Worker", "createOutbox"]
    .concat(["openPostgresStore", "openSqliteStore", "postbagTransport", "relayClient"])
    .concat(["directClient", "startMailServer", "writeFileDurably"]);
  const check = `
    const missing = ${JSON.stringify(names)}.filter((name) => typeof postbag[name] !== "function");
    if (missing.length > 0) throw new Error("missing: " + missing);
    console.log(Object.keys(postbag).length > 20);`;
  writeFileSync(join(app, "root.mjs"), `import * as postbag from "postbag";${check}`);
  writeFileSync(join(app, "root.cjs"), `const postbag = require("postbag");${check}`);
  for (const file of ["root.mjs", "root.cjs"]) {
    assert.equal(sh(app, process.execPath, file), "true\n", file);
  }
});

test("the installation is small: one nodemailer, at most 24 packages, 25 MB", (t) => {
  if (missing) return t.skip(missing);
  const listed = sh(app, "npm", "ls", "--all", "--parseable").trim().split("\n").slice(1);
  assert.equal(listed.filter((path) => path.endsWith("/nodemailer")).length, 1);
  assert.ok(listed.length <= 24, `${listed.length} packages: ${listed.join(", ")}`);
  const bytes = Number(sh(app, "du", "-sb", "node_modules").split("\t")[0]);
  assert.ok(bytes < 25e6, `${bytes} bytes`);
  t.diagnostic(`${listed.length} packages, ${(bytes / 1e6).toFixed(1)} MB`);
});

for (const [resolution, flags] of [
  ["nodenext", ["--module", "nodenext"]],
  ["node16", ["--module", "node16"]],
  ["bundler", ["--module", "esnext", "--moduleResolution", "bundler"]],
] as const) {
  test(`a TypeScript program compiles against the package: ${resolution}`, (t) => {
    if (missing) return t.skip(missing);
    const source = `
      import { type DeliveryEvent, DeliveryExecutor } from "postbag/delivery";
      import { Batcher } from "postbag/batcher";
      import type { Deliver } from "postbag/mail";
      import { Maildir } from "postbag/maildir";
      import { createOutbox, type Mail, openSqliteStore, postbagTransport } from "postbag/outbox";
      import { startMailServer } from "postbag/smtp";
      import { writeFileDurably } from "postbag/system";
      import * as postbag from "postbag";
      export const parts: unknown[] = [Batcher, DeliveryExecutor, Maildir, createOutbox];
      export const more: unknown[] = [openSqliteStore, postbagTransport, startMailServer];
      export const worker: typeof postbag.Worker = postbag.Worker;
      export const same: typeof Batcher = postbag.Batcher;
      export const write: typeof writeFileDurably = postbag.writeFileDurably;
      export type Names = [DeliveryEvent, Deliver, Mail, postbag.Mail];
    `;
    writeFileSync(join(app, "types.ts"), source);
    const options = ["--noEmit", "--strict", "--target", "es2024", ...flags];
    const types = ["--types", "node", "--typeRoots", join(root, "node_modules/@types")];
    sh(app, join(root, "node_modules/.bin/tsc"), ...options, ...types, "types.ts");
  });
}

test("the installed serve accepts one message, and the installed deliver another", async (t) => {
  if (missing) return t.skip(missing);
  const data = join(temporaryDirectory(t), "data");
  const server = await serve(t, data, [], { command, cwd: app });
  assert.match((await sendMessage(server.smtpPort, "Subject: x\n\nx")) ?? "", /^250 /);
  const piped = await run(["deliver", "--data", data, "--to", "you@localhost"], {
    command,
    input: "Subject: y\n\ny\n",
  });
  assert.equal(piped.code, 0, piped.stderr);
  assert.equal(filesIn(data, "localhost/you").size, 2);
  assert.equal((await server.stop()).code, 0);
});

test("npx finds the command", (t) => {
  if (missing) return t.skip(missing);
  const path = `${join(root, "node_modules/.bin")}${delimiter}${process.env.PATH}`;
  const { stdout } = spawnSync("npx", ["--no", "postbag", "--version"], {
    cwd: app,
    encoding: "utf8",
    env: { ...process.env, PATH: path },
  });
  assert.match(stdout, /^\d+\.\d+\.\d+$/m);
});

test("below Node 24 the command says in one line what to install", async (t) => {
  if (missing) return t.skip(missing);
  const folders = (process.env.PATH ?? "")
    .split(delimiter)
    .filter((path) => !path.includes("node_modules"));
  const older = folders
    .map((path) => join(path, "node"))
    .find((path) => {
      const { stdout } = spawnSync(path, ["--version"], { encoding: "utf8" });
      return stdout && Number(/^v(\d+)/.exec(stdout)?.[1]) < 24;
    });
  if (older === undefined) return t.skip("needs a Node below 24 on the PATH");
  const { code, stdout, stderr } = await run(["serve"], { command: [older, command[1]], cwd: app });
  assert.equal(code, 1);
  assert.equal(stdout, "");
  assert.match(
    stderr,
    /^Postbag needs Node 24 or newer; this is \d+\.\d+\.\d+\. Install [^\n]+\n$/,
  );
});
