#!/bin/sh
# `make breaks-dax`: as `make breaks`, of what only a guest with persistent memory can show (tests/dax/breaks).
# The table holds, separated by tabs: what is broken, the file, a sed script, the arguments of `dax run`, and the words
# that its output must then have.
set -u
cd "$(dirname "$0")/../.."
built="${CARGO_TARGET_DIR:-$PWD/target}"
target="$built/breaks-dax"
copy="$target/tree"
rm -rf "$copy"
mkdir -p "$copy"
# With their dates, by which the guest's root is known to be new enough.
git ls-files -z | xargs -0 cp --parents --preserve=timestamps -t "$copy"
export CARGO_TARGET_DIR="$target/built" PAGESTONE_GUEST="${PAGESTONE_GUEST:-$built/guest}"
log="$target/log"
cases=0 missed=0

miss() {
    printf 'breaks-dax: MISSED  %s: %s\n' "$1" "$2"
    missed=$((missed + 1))
}

tab=$(printf '\t')
while IFS=$tab read -r promise file script arguments words <&3; do
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
    if ! cargo build --locked --quiet -p pagestone-dax >"$log" 2>&1; then
        miss "$promise" "the broken code does not compile"
        grep -m3 -A5 '^error' "$log"
    elif eval "$target/built/debug/dax run $arguments" >"$log" 2>&1; then
        grep '^SKIPPED' "$log" && exit 1
        miss "$promise" "the run passes: dax run $arguments"
    elif ! grep -q '^FAILED' "$log" || ! grep -qE "$words" "$log"; then
        miss "$promise" "the run does not say \"$words\""
        tail -n 20 "$log"
    else
        printf 'breaks-dax: caught  %s: %s\n' "$promise" "$(grep -E '^FAILED' "$log" | tr -s ' ' | paste -sd, -)"
        printf '                    %s\n' "$(grep -m1 -E "$words" "$log" | cut -c1-200)"
    fi
    cd - >/dev/null || exit 1
    cp "$target/whole" "$copy/$file"
done 3<tests/dax/breaks
printf 'summary: breaks-dax cases=%d states=0 schedules=0 failures=%d\n' "$cases" "$missed"
[ "$missed" = 0 ]
