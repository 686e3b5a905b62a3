#!/bin/sh
# `make test`: every test program of the workspace. A program names aloud each part that it cannot run on this machine
# (tests/kit/src/skip.rs). These lines are printed once more at the end, and the last line counts them over all programs.
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
