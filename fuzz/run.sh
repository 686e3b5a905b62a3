#!/bin/sh
# sh fuzz/run.sh [seconds]: fuzzes each target for that long (60) and prints what was run and found. TARGETS="..." chooses some.
# New inputs are kept under fuzz/target, not in the committed corpus. `sh fuzz/run.sh merge` adds those that reach new code.
set -eu
cd "$(dirname "$0")"
all="any_image checked_image patched_image guarded_image replayed_log c_calls operations"
targets=${TARGETS:-$all}
seconds=${1:-60}
out=target/runs
found=target/found
[ -z "${CARGO_TARGET_DIR:-}" ] || { out=$CARGO_TARGET_DIR/runs; found=$CARGO_TARGET_DIR/found; }
failures=0
states=0
cases=0

missing() { echo "fuzz: $1 is missing: $2"; exit 1; }
command -v cargo-fuzz >/dev/null || missing cargo-fuzz "cargo install cargo-fuzz"
"${CARGO:-cargo}" +nightly --version >/dev/null 2>&1 || missing "nightly Rust" "rustup toolchain install nightly"

# The targets repair structures themselves, so comparing operands would find little, and cost half of the speed.
fuzz() { "${CARGO:-cargo}" +nightly fuzz "$@"; }
mkdir -p "$out"
fuzz build --no-trace-compares >"$out/build.log" 2>&1 || { cat "$out/build.log"; exit 1; }

if [ "$seconds" = merge ]; then
    for target in $targets; do
        mkdir -p "$found/$target"
        fuzz run --no-trace-compares "$target" "corpus/$target" "$found/$target" -- -merge=1 2>&1 | tail -n 1
    done
    exit 0
fi

stat() { sed -n "s/^stat::$2: *//p" "$out/$1.log"; }
printf '%-15s %12s %10s %8s %8s %8s  %s\n' target executions per-second coverage inputs MiB crashes
for target in $targets; do
    mkdir -p "$found/$target" "artifacts/$target"
    before=$(ls "artifacts/$target" | wc -l)
    # Any of these ends the run: a panic, what AddressSanitizer sees, a leak, 25 s for one input, too much memory.
    fuzz run --no-trace-compares "$target" "$found/$target" "corpus/$target" -- -max_total_time="$seconds" -timeout=25 \
        -rss_limit_mb=2048 -malloc_limit_mb=512 -print_final_stats=1 >"$out/$target.log" 2>&1 || true
    crashes=$(($(ls "artifacts/$target" | wc -l) - before))
    runs=$(stat "$target" number_of_executed_units)
    # A target that never began, or ended without its last line, has failed as well.
    [ -n "$runs" ] || { runs=0; [ "$crashes" -gt 0 ] || crashes=1; }
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$out/$target.log" | tail -n 1)
    inputs=$(sed -n 's/.* corp: \([0-9]*\)\/.*/\1/p' "$out/$target.log" | tail -n 1)
    printf '%-15s %12s %10s %8s %8s %8s  %s\n' "$target" "$runs" "$(stat "$target" average_exec_per_sec)" \
        "${coverage:--}" "${inputs:--}" "$(stat "$target" peak_rss_mb)" "$crashes"
    [ "$crashes" = 0 ] || grep -m 3 -A 1 -E 'panicked at|ERROR:|SUMMARY:' "$out/$target.log" || true
    cases=$((cases + 1))
    states=$((states + runs))
    failures=$((failures + crashes))
done
echo "summary: fuzz cases=$cases states=$states schedules=0 failures=$failures"
[ "$failures" = 0 ]
