#!/bin/sh
# `make breaks`: breaks one promise at a time in a copy of the tree and demands that the test named beside it fails.
# The table holds, separated by tabs: what is broken, the file, a sed script, and the arguments of `cargo test`.
set -u
cd "$(dirname "$0")/../.."
target="${CARGO_TARGET_DIR:-$PWD/target}/breaks"
copy="$target/tree"
rm -rf "$copy"
mkdir -p "$copy"
git ls-files -z | xargs -0 cp --parents -t "$copy"
export CARGO_TARGET_DIR="$target/built"
log="$target/log"
cases=0 missed=0

miss() {
    printf 'breaks: MISSED  %s: %s\n' "$1" "$2"
    missed=$((missed + 1))
}

tab=$(printf '\t')
while IFS=$tab read -r promise file script arguments; do
    case "$promise" in "" | "#"*) continue ;; esac
    [ -z "${ONLY:-}" ] || case "$promise" in *"$ONLY"*) ;; *) continue ;; esac
    cases=$((cases + 1))
    cp "$copy/$file" "$target/whole"
    sed -i "$script" "$copy/$file"
    if cmp -s "$copy/$file" "$target/whole"; then
        miss "$promise" "$file is what it was: the table is out of date"
        continue
    fi
    cd "$copy" || exit 1
    # What a doc test is about may be that it does not compile: the crate must.
    case "$arguments" in *--doc*) compile="build ${arguments%%--doc*}" ;; *) compile="test --no-run $arguments" ;; esac
    if ! cargo --locked --quiet $compile >"$log" 2>&1; then
        miss "$promise" "the broken code does not compile"
        grep -m3 -A5 '^error' "$log"
    elif timeout 300 cargo test --locked --quiet $arguments >"$log" 2>&1; then
        miss "$promise" "its test passes: $arguments"
    else
        why=$(grep -m1 -A1 'panicked at' "$log" | tail -n 1)
        printf 'breaks: caught  %s: %s\n' "$promise" "${why:-$(grep -m1 -E 'signal|SIG|error:' "$log")}"
    fi
    cd - >/dev/null || exit 1
    cp "$target/whole" "$copy/$file"
done <tests/breaks/table
printf 'summary: breaks cases=%d states=0 schedules=0 failures=%d\n' "$cases" "$missed"
[ "$missed" = 0 ]
