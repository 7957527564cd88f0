#!/usr/bin/env node
/**
 * Starts the command line on a Node that can run it.
 *
 * Written so that an old Node can still read it and say what is missing. A checkout brings its own
 * Node among the dependencies; there the command moves over to that one.
 */
const leastMajor = 24;

if (Number(process.versions.node.split(".")[0]) >= leastMajor) {
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
        `Postbag needs Node ${leastMajor} or newer; this is ${process.versions.node}. Install it from https://nodejs.org/ or with your package manager.`,
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
