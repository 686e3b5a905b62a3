#!/bin/sh
# Histories of real threads, then of schedules that shuttle chooses, compared with what each operation promises.
# Variables: HISTORIES of each kind, SCHEDULES of each kind, SEED.
set -eu
cd "$(dirname "$0")/../.."
build() { "${CARGO:-cargo}" build --locked --release --quiet -p pagestone-tests --bin linear "$@"; }
target="${CARGO_TARGET_DIR:-target}"
seed="${SEED:-1}"

build
# A target directory of its own: the cfg rebuilds everything.
RUSTFLAGS="--cfg pagestone_shuttle" CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true build --target-dir "$target/shuttle"

failures=0
said=$("$target/release/linear" "${HISTORIES:-2000}" "$seed" 2>/dev/null) || failures=$((failures + 1))
echo "$said"
chosen=$("$target/shuttle/release/linear" "${SCHEDULES:-6000}" "$seed" 2>/dev/null) || failures=$((failures + 1))
echo "$chosen"
count() { echo "$1" | awk -v what="$2" '/^linear: / && $0 ~ what { n += $3 } END { print n + 0 }'; }
echo "summary: linear cases=$(count "$said" histories) states=0 schedules=$(count "$chosen" schedules) failures=$failures"
[ "$failures" = 0 ]
