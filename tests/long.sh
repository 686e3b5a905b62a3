#!/bin/sh
# `make test-long`: the long form of every proof, one after the other, and one table of what they did.
# Each ends with a line "summary: NAME cases=N states=N schedules=N failures=N". A proof that ends without it has failed.
# The arguments are the verbs of the Makefile to run. The output of each stays in $CARGO_TARGET_DIR/long.
set -u
cd "$(dirname "$0")/.."
logs="${CARGO_TARGET_DIR:-target}/long"
mkdir -p "$logs"
: >"$logs/table"

field() { printf '%s\n' "$1" | tr ' ' '\n' | sed -n "s/^$2=//p"; }
row() { printf '%-13s %8s %11s %11s %8s %9s\n' "$@"; }

failed=0
for verb in "$@"; do
    printf 'test-long: %s ...\n' "$verb"
    begun=$(date +%s)
    make --no-print-directory "$verb" >"$logs/$verb.log" 2>&1
    status=$?
    seconds=$(($(date +%s) - begun))
    summary=$(grep '^summary: ' "$logs/$verb.log" | tail -n 1)
    failures=$(field "$summary" failures)
    if [ -z "$failures" ] || { [ "$status" != 0 ] && [ "$failures" = 0 ]; }; then failures=1; fi
    if [ "$failures" != 0 ]; then
        failed=1
        printf 'test-long: %s failed; the end of %s:\n' "$verb" "$logs/$verb.log"
        tail -n 20 "$logs/$verb.log"
    fi
    row "$verb" "$(field "$summary" cases)" "$(field "$summary" states)" "$(field "$summary" schedules)" \
        "$seconds" "$failures" >>"$logs/table"
done

echo
row proof cases states schedules seconds failures
cat "$logs/table"
exit "$failed"
