#!/bin/sh
# Runs the tests: types and lint, then unit tests, simulations, dialogues and process tests.
# With "all" also the suites that take longer or need root, loop devices, the package registry or other
# mail programs. What cannot run on this machine is named at the end.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"
# Hundreds of processes and threads load the same sources: compiled once, they need half the time.
export NODE_COMPILE_CACHE="$PWD/node_modules/.cache/postbag-tests"

# run LIMIT_MS FILES_AT_ONCE PATTERN...: a test that hangs fails after that long instead of holding up
# everything.
run() {
  limitMs=$1
  atOnce=$2
  shift 2
  node --test --test-timeout="$limitMs" --test-concurrency="$atOnce" \
    --test-reporter=spec --test-reporter-destination=stdout \
    --test-reporter=./test/support/faults-time-reporter.ts --test-reporter-destination=stdout \
    --test-reporter=./test/support/skipped-reporter.ts --test-reporter-destination=stdout "$@"
}

if [ "${1:-}" = all ]; then
  shift
  failed=0
  run 1200000 "$(nproc)" "test/slow/mutations/**/*.test.ts" "test/slow/package/**/*.test.ts" \
    "test/slow/outbox/**/*.test.ts" "test/slow/process/**/*.test.ts" || failed=1
  # Suites that mount disks or run other mail programs have the machine to themselves.
  run 1200000 1 "test/slow/root/**/*.test.ts" "test/slow/powercut/**/*.test.ts" \
    "test/slow/crash/**/*.test.ts" "test/slow/peers/**/*.test.ts" "$@" || failed=1
  exit "$failed"
fi
tsc --noEmit &
biome check --error-on-warnings .
wait $!
# One file more than processors: tests also wait for disks and servers.
run 300000 "$(($(nproc) + 1))" "src/**/*.test.ts" "bench/**/*.test.ts" "test/repo/**/*.test.ts" \
  "test/smtp/**/*.test.ts" "test/outbox/**/*.test.ts" "test/simulation/**/*.test.ts" \
  "test/process/**/*.test.ts" "test/support/**/*.test.ts" "$@"
