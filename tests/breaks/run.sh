#!/bin/sh
# `make breaks` and `make breaks-dax`: breaks one promise at a time in a copy of the tree and demands that a test notices.
# A table holds, separated by tabs: what is broken, the file, a sed script, and arguments:
#   table  of `cargo test`, which must fail. Over the tree that is not broken the same test must pass
#   dax    of `dax run` in the guest with persistent memory, and behind one more tab the words that it must then say
# ONLY=words picks promises. JOBS=n works in n copies, which each have a target folder (tables of cargo tests only).
set -u
cd "$(dirname "$0")/../.."
what="${1:-breaks}"
jobs=1 table="$PWD/tests/breaks/dax"
[ "$what" != breaks ] || jobs="${JOBS:-1}" table="$PWD/tests/breaks/table"
built="${CARGO_TARGET_DIR:-$PWD/target}"
mkdir -p "$built/$what"
target="$(cd "$built/$what" && pwd)"
export PAGESTONE_GUEST="${PAGESTONE_GUEST:-$built/guest}"
tab=$(printf '\t')
# Each row compiles the engine: without debug information, and without optimization if the row does not ask for it.
[ "$what" != breaks ] || export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 \
    CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_TEST_OPT_LEVEL=0

say() { # the verdict, and why
    printf '%s: %-7s %s: %s\n' "$what" "$1" "$promise" "$2" | tee -a "$target/verdicts"
}

does_not_compile() {
    say MISSED "the code does not compile"
    grep -m3 -A5 '^error' "$log"
}

test_of_the_workspace() {
    # A doc test may be one that must not compile. The crate must.
    case "$arguments" in *--doc*) compile="build ${arguments%%--doc*}" ;; *) compile="test --no-run $arguments" ;; esac
    cargo --locked --quiet $compile >"$log" 2>&1 || { does_not_compile; return; }
    timeout 300 cargo test --locked --quiet $arguments >"$log" 2>&1
    status=$?
    why=$(grep -m1 -A1 'panicked at' "$log" | tail -n 1)
    why="${why:-$(grep -m1 -E 'signal|SIG|error:' "$log")}"
    case "$status $file" in
    124*) say MISSED "its test does not end: $arguments" ;;
    "0 -") ;;
    *" -") say MISSED "its test fails without a break: $arguments: $why" ;;
    0*) say MISSED "its test passes: $arguments $(grep -m1 ^SKIPPED "$log")" ;;
    *) say caught "$why" ;;
    esac
}

run_of_the_guest() {
    cargo build --locked --quiet -p pagestone-dax >"$log" 2>&1 || { does_not_compile; return; }
    if eval "$CARGO_TARGET_DIR/debug/dax run $arguments" >"$log" 2>&1; then
        grep '^SKIPPED' "$log" && exit 1
        say MISSED "the run passes: dax run $arguments"
    elif ! grep -q '^FAILED' "$log" || ! grep -qE "$words" "$log"; then
        say MISSED "the run does not say \"$words\""
        tail -n 20 "$log"
    else
        say caught "$(grep -E '^FAILED' "$log" | tr -s ' ' | paste -sd, -)"
        printf '                    %s\n' "$(grep -m1 -E "$words" "$log" | cut -c1-200)"
    fi
}

# The rows to be run, with a number. Those of one test program follow each other, behind one row for each test that is to pass.
list() {
    awk -F '\t' -v OFS='\t' -v only="${ONLY:-}" -v what="$what" '
        /^#/ || NF < 4 || (only != "" && !index($1, only)) { next }
        what != "breaks" { print "", 1, "", $0; next }
        { split($4, of, " -- "); print of[1], 1, $2, $0 }
        !seen[$4]++ { print of[1], 0, "", "unbroken", "-", "-", $4 }' "$table" |
        sort -s -t "$tab" -k 1,1 -k 2,2n -k 3,3 | cut -f 4- | awk -v OFS='\t' '{ print NR, $0 }'
}

copy() { # number: a tree with the dates of this one, as the guest's root is made anew if it is older than they are
    rm -rf "$target/$1/tree"
    mkdir -p "$target/$1/tree"
    git ls-files -z | xargs -0 cp --parents --preserve=timestamps -t "$target/$1/tree"
    # No test of the table runs the programs of this package.
    [ "$what" != breaks ] || sed -i 's/^autotests = false$/&\nautobins = false/' "$target/$1/tree/tests/Cargo.toml"
    # Nor is the engine optimized more than the rest.
    [ "$what" != breaks ] || sed -i '/^\[profile\.dev\.package\.pagestone/,/^opt-level/d' "$target/$1/tree/Cargo.toml"
    # What the last run has built from these files was broken.
    (cd "$target/$1/tree" && grep -v '^#' "$table" | cut -f 2 | sort -u | xargs touch)
}

# Takes rows that no other copy has taken, from its own part of the list on.
work() { # number
    log="$target/$1/log" whole="$target/$1/whole" first=$(((number_of_rows * ($1 - 1)) / jobs))
    export CARGO_TARGET_DIR="$target/$1/built"
    cd "$target/$1/tree" || exit 1
    { tail -n +$((first + 1)) "$target/rows"; head -n "$first" "$target/rows"; } >"$target/$1/rows"
    while IFS=$tab read -r row promise file script arguments words <&3; do
        mkdir "$target/taken/$row" 2>/dev/null || continue
        if [ "$file" = - ]; then test_of_the_workspace; continue; fi
        cp "$file" "$whole"
        sed -i "$script" "$file"
        if cmp -s "$file" "$whole"; then
            say MISSED "$file is what it was: the table is out of date"
        elif [ "$what" = breaks ]; then test_of_the_workspace; else run_of_the_guest; fi
        cp "$whole" "$file"
    done 3<"$target/$1/rows"
}

rm -rf "$target/taken"
mkdir "$target/taken"
: >"$target/verdicts"
list >"$target/rows"
number_of_rows=$(grep -c . "$target/rows")
trap 'trap - TERM; kill 0' INT TERM
job=1 workers='' whole=1
while [ "$job" -le "$jobs" ]; do
    copy "$job"
    work "$job" &
    workers="$workers $!"
    job=$((job + 1))
done
for worker in $workers; do wait "$worker" || whole=0; done
cases=$(cut -f 3 "$target/rows" | grep -vc '^-$') missed=$(grep -c ': MISSED ' "$target/verdicts")
[ "$jobs" = 1 ] || grep ': MISSED ' "$target/verdicts"
printf 'summary: %s cases=%d states=0 schedules=0 failures=%d\n' "$what" "$cases" "$missed"
[ "$missed" = 0 ] && [ "$cases" -gt 0 ] && [ "$whole" = 1 ]
