#!/bin/sh
# `make test`: every test program of the workspace. What a machine cannot show is skipped aloud by the program that meets it
# (tests/kit/src/skip.rs); here it is said once more at the end, and the last line counts it over all programs.
set -u
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
mkdir -p "$target"
export PAGESTONE_SKIPPED="$(cd "$target" && pwd)/skipped"
: >"$PAGESTONE_SKIPPED"
echo "make test: builds first, silently for minutes where nothing is built yet"
${CARGO:-cargo} test --locked --workspace "$@"
status=$?
echo
sort "$PAGESTONE_SKIPPED"
parts=$(grep -c . "$PAGESTONE_SKIPPED")
printf 'make test: %s; %d parts were SKIPPED\n' "$([ "$status" = 0 ] && echo passed || echo FAILED)" "$parts"
exit "$status"
