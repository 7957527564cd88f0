#!/bin/sh
# Prints the lines covered per room. Fails when a test fails, or when a room that stores mail has less
# than 95 % of its lines covered.
set -eu
cd "$(dirname "$0")/.."
PATH="$PWD/node_modules/.bin:$PATH"
report=$(mktemp)
trap 'rm -f "$report"' EXIT
failed=0
node --test --test-timeout=120000 --experimental-test-coverage \
  --test-coverage-include="src/**" --test-coverage-exclude="src/**/*.test.ts" \
  --test-reporter=dot --test-reporter-destination=stdout \
  --test-reporter=lcov --test-reporter-destination="$report" \
  "src/**/*.test.ts" "test/smtp/**/*.test.ts" "test/simulation/**/*.test.ts" || failed=$?
node scripts/coverage-by-room.ts "$report"
exit "$failed"
