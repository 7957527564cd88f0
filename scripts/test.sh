#!/bin/sh
# Runs the tests: types and lint, then unit tests, simulations, dialogues and process tests.
# With "all" also the suites that need root, loop devices or other mail programs; what cannot run is
# named at the end.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"
if [ "${1:-}" = all ]; then
  shift
  set -- "test/powercut/**/*.test.ts" "test/peers/**/*.test.ts" "$@"
else
  tsc --noEmit
  biome check --error-on-warnings .
  set -- "src/**/*.test.ts" "test/*.test.ts" "test/support/**/*.test.ts" "test/simulation/**/*.test.ts" \
    "test/dialogues/**/*.test.ts" "test/process/**/*.test.ts" "$@"
fi
exec node --test --test-reporter=spec --test-reporter-destination=stdout \
  --test-reporter=./test/support/skipped-reporter.ts --test-reporter-destination=stdout "$@"
