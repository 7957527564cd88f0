#!/bin/sh
# Installs the dependencies that are missing or older than the lock file. Runs on whatever Node npm itself
# was started with.
#
#   setup.sh start   what the server needs: the package's own dependencies, and Node 24 if this Node is older
#   setup.sh         everything: also types, lint, and what tests and benches need
set -eu
cd "$(dirname "$0")/.."
installed=node_modules/.package-lock.json
need=${1:-all}

isCurrent() { [ -f "$installed" ] && [ ! package-lock.json -nt "$installed" ]; }
hasNode() { [ -x node_modules/.bin/node ] || [ "$(node -p 'parseInt(process.versions.node)')" -ge 24 ]; }

# Not npm ci: it refuses the lock file where a registry lacks some tool's builds for other systems.
install() {
  npm install --no-save --no-audit --no-fund --loglevel=error "$@" >&2
  touch "$installed"
}

# A checkout that has the tools keeps them.
[ ! -x node_modules/.bin/tsc ] || need=all

if [ "$need" = start ]; then
  isCurrent && hasNode && exit 0
  echo "Installing what Postbag needs to run (once) ..." >&2
  set -- --omit=dev
  # By another name, because npm leaves a development dependency out under its own.
  hasNode || set -- "$@" "node24@npm:node@$(node -p 'require("./package.json").devDependencies.node')"
  install "$@"
elif ! isCurrent || [ ! -x node_modules/.bin/tsc ]; then
  echo "Installing what Postbag and its tests need (once) ..." >&2
  install
fi
