#!/bin/sh
# Installs the dependencies, Node 24 among them, when they are missing or older than the lock file.
# Runs on whatever Node npm itself was started with; everything after it runs on node_modules/.bin/node.
set -eu
cd "$(dirname "$0")/.."
installed=node_modules/.package-lock.json
if [ ! -f "$installed" ] || [ package-lock.json -nt "$installed" ]; then
  echo "Installing what Postbag needs (once) ..." >&2
  # Not npm ci: it refuses the lock file where a registry lacks some tool's builds for other systems.
  npm install --no-save --no-audit --no-fund --loglevel=error >&2
  touch "$installed"
fi
