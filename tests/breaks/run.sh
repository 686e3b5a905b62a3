#!/bin/sh
# `make breaks` and `make breaks-dax`: breaks one promise at a time in a copy of the tree and demands that a test notices.
# A table holds, separated by tabs: what is broken, the file, a sed script, and arguments:
#   table  of `cargo test`, which must fail
#   dax    of `dax run` in the guest with persistent memory, and behind one more tab the words that it must then say
set -u
cd "$(dirname "$0")/../.."
what="${1:-breaks}"
built="${CARGO_TARGET_DIR:-$PWD/target}"
target="$built/$what"
copy="$target/tree"
table="$PWD/tests/breaks/$([ "$what" = breaks ] && echo table || echo dax)"
log="$target/log"
cases=0 missed=0
rm -rf "$copy"
mkdir -p "$copy"
# With their dates: the guest's root is made anew if it is older than they are.
git ls-files -z | xargs -0 cp --parents --preserve=timestamps -t "$copy"
export CARGO_TARGET_DIR="$target/built" PAGESTONE_GUEST="${PAGESTONE_GUEST:-$built/guest}"

miss() {
    printf '%s: MISSED  %s: %s\n' "$what" "$promise" "$1"
    missed=$((missed + 1))
}

does_not_compile() {
    miss "the broken code does not compile"
    grep -m3 -A5 '^error' "$log"
}

test_of_the_workspace() {
    # A doc test may be one that must not compile. The crate must.
    case "$arguments" in *--doc*) compile="build ${arguments%%--doc*}" ;; *) compile="test --no-run $arguments" ;; esac
    if ! cargo --locked --quiet $compile >"$log" 2>&1; then
        does_not_compile
    elif timeout 300 cargo test --locked --quiet $arguments >"$log" 2>&1; then
        miss "its test passes: $arguments"
    else
        why=$(grep -m1 -A1 'panicked at' "$log" | tail -n 1)
        printf 'breaks: caught  %s: %s\n' "$promise" "${why:-$(grep -m1 -E 'signal|SIG|error:' "$log")}"
    fi
}

run_of_the_guest() {
    if ! cargo build --locked --quiet -p pagestone-dax >"$log" 2>&1; then
        does_not_compile
    elif eval "$CARGO_TARGET_DIR/debug/dax run $arguments" >"$log" 2>&1; then
        grep '^SKIPPED' "$log" && exit 1
        miss "the run passes: dax run $arguments"
    elif ! grep -q '^FAILED' "$log" || ! grep -qE "$words" "$log"; then
        miss "the run does not say \"$words\""
        tail -n 20 "$log"
    else
        printf 'breaks-dax: caught  %s: %s\n' "$promise" "$(grep -E '^FAILED' "$log" | tr -s ' ' | paste -sd, -)"
        printf '                    %s\n' "$(grep -m1 -E "$words" "$log" | cut -c1-200)"
    fi
}

cd "$copy" || exit 1
# What the last run has built from these files was broken.
grep -v '^#' "$table" | cut -f 2 | sort -u | xargs touch
tab=$(printf '\t')
while IFS=$tab read -r promise file script arguments words <&3; do
    case "$promise" in "" | "#"*) continue ;; esac
    [ -z "${ONLY:-}" ] || case "$promise" in *"$ONLY"*) ;; *) continue ;; esac
    cases=$((cases + 1))
    cp "$file" "$target/whole"
    sed -i "$script" "$file"
    if cmp -s "$file" "$target/whole"; then
        miss "$file is what it was: the table is out of date"
    elif [ "$what" = breaks ]; then
        test_of_the_workspace
    else
        run_of_the_guest
    fi
    cp "$target/whole" "$file"
done 3<"$table"
printf 'summary: %s cases=%d states=0 schedules=0 failures=%d\n' "$what" "$cases" "$missed"
[ "$missed" = 0 ]
