#!/bin/sh
# Runs the tests: types and lint, then unit tests, simulations, dialogues and process tests.
# With "all" also the suites that take longer or need root, loop devices, the package registry or other
# mail programs. What cannot run on this machine is named at the end.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"
# A test that hangs fails after this long instead of holding up everything. Suites that mount disks or
# run other mail programs have the machine to themselves.
limitMs=300000
atOnce=1
if [ "${1:-}" = all ]; then
  shift
  limitMs=1200000
  set -- "test/mutations/**/*.test.ts" "test/package/**/*.test.ts" "test/process-root/**/*.test.ts" \
    "test/powercut/**/*.test.ts" "test/crash/**/*.test.ts" "test/peers/**/*.test.ts" "$@"
else
  atOnce=$(nproc)
  tsc --noEmit
  biome check --error-on-warnings .
  set -- "src/**/*.test.ts" "bench/**/*.test.ts" "test/*.test.ts" "test/simulation/**/*.test.ts" "test/outbox/**/*.test.ts" \
    "test/dialogues/**/*.test.ts" "test/process/**/*.test.ts" "$@"
fi
exec node --test --test-timeout="$limitMs" --test-concurrency="$atOnce" \
  --test-reporter=spec --test-reporter-destination=stdout \
  --test-reporter=./test/support/skipped-reporter.ts --test-reporter-destination=stdout "$@"
