#!/usr/bin/env node
/**
 * Starts the command line on a Node that can run it.
 *
 * An old Node must be able to read this file, so that it can print which Node is needed. A checkout has
 * its own Node among the dependencies; there the command continues on that one.
 */
const minMajor = 24;

if (Number(process.versions.node.split(".")[0]) >= minMajor) {
  const { existsSync } = process.getBuiltinModule("node:fs");
  const source = new URL("../src/cli/main.ts", import.meta.url);
  void import(
    existsSync(source) ? source.href : new URL("../dist/cli/main.js", import.meta.url).href
  );
} else {
  void Promise.all([import("node:fs"), import("node:child_process")]).then(([fs, children]) => {
    const own = new URL("../node_modules/.bin/node", import.meta.url);
    const source = new URL("../src/cli/main.ts", import.meta.url);
    if (!fs.existsSync(own) || !fs.existsSync(source)) {
      console.error(
        `Postbag needs Node ${minMajor} or newer; this is ${process.versions.node}. Install it from https://nodejs.org/ or with your package manager.`,
      );
      process.exit(1);
    }
    const child = children.spawn(
      decodeURIComponent(own.pathname),
      [decodeURIComponent(source.pathname), ...process.argv.slice(2)],
      { stdio: "inherit" },
    );
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
      process.on(signal, () => child.kill(signal));
    }
    child.on("exit", (code, signal) => process.exit(signal ? 1 : (code ?? 1)));
  });
}
