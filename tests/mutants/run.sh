#!/bin/sh
# `make mutants`: cargo-mutants over the state word, the log and recovery (`config.toml` says which mutants). The engine's
# unit tests run first. Mutants that survive them run against the suites of frames, regions, stores and crashes.
# `survivors` lists the mutants that may live, one on a line, with tabs between: the mutant as cargo-mutants prints it, without
# its position; the line of code that it changes; why no test can tell the difference. An entry whose mutant is caught or no
# longer exists is a failure too.
# ONLY=regex chooses mutants. LIST=1 prints their names for `survivors`, and breaks nothing.
set -u
export LC_ALL=C
cd "$(dirname "$0")/../.."
out="${CARGO_TARGET_DIR:-$PWD/target}/mutants"
mkdir -p "$out"
# A folder of its own, since a mutant changes every crate. Both passes use it, so that what they share is built once.
export CARGO_TARGET_DIR="$out/built"
tab=$(printf '\t')
known=tests/mutants/survivors
command -v cargo-mutants >/dev/null || { echo "mutants: needs cargo-mutants (cargo install cargo-mutants --locked)"; exit 1; }

mutants() { "${CARGO:-cargo}" mutants --config tests/mutants/config.toml --colors never "$@"; }

# Each mutant's name in `survivors`. Positions move with every edit, so a name has the text of the line, and a number if that is
# not enough.
named() {
    awk -v tab="$tab" '{
        split($0, at, ":")
        if (!(at[1] in lines)) for (lines[at[1]] = 0; (getline text < at[1]) > 0; ) {
            gsub(/^ +| +$/, "", text)
            code[at[1], ++lines[at[1]]] = text
        }
        what = at[1] ": " substr($0, index($0, ": ") + 2)
        times = ++seen[what, code[at[1], at[2]]]
        print $0 tab what (times > 1 ? " (" times ")" : "") tab code[at[1], at[2]]
    }'
}
# The names of the mutants on standard input.
names_of() { sed "s/\$/$tab/" | grep -F -f - "$out/names" | cut -f 2-; }

mutants --list | named >"$out/names"
[ -s "$out/names" ] || exit 1
mutants --list ${ONLY:+--re "$ONLY"} | names_of >"$out/chosen"
if [ -n "${LIST:-}" ]; then
    cat "$out/chosen"
    exit
fi

# A mutant that never ends may take more and more memory.
ulimit -d 8000000
run() { mutants --output "$out" --no-shuffle ${ONLY:+--re "$ONLY"} "$@"; }
# Exit codes: 2 means survivors; 3 means mutants that ran out of time, which counts as caught.
ran() { case "$1" in 0 | 2 | 3) ;; *) echo "mutants: cargo-mutants failed: $1"; exit 1 ;; esac; }
lists="$out/mutants.out"
rm -rf "$lists"
# These are arguments of `cargo`, not of its tests, so that what is not run is not built either.
run --cargo-arg=--lib
ran $?
caught=$(cat "$lists/caught.txt" "$lists/timeout.txt" | wc -l)
if [ -s "$lists/missed.txt" ]; then
    cat "$lists/timeout.txt" >>"$lists/caught.txt"
    run --iterate --test-package pagestone-tests --cargo-arg=--test=frame --cargo-arg=--test=region \
        --cargo-arg=--test=store --cargo-arg=--test=crash
    ran $?
    caught=$((caught + $(cat "$lists/caught.txt" "$lists/timeout.txt" | wc -l)))
fi

names_of <"$lists/missed.txt" | sort >"$out/survived"
grep -v '^#' "$known" | cut -f 1,2 | sort >"$out/justified"
cut -f 2- "$out/names" | sort >"$out/possible"
sort "$out/chosen" | comm -23 - "$out/survived" | comm -12 - "$out/justified" >"$out/dead"
{
    comm -23 "$out/survived" "$out/justified" | sed 's/^/survives, and nothing says why it may: /'
    sed 's/^/is caught, and still justified: /' "$out/dead"
    comm -23 "$out/justified" "$out/possible" | sed 's/^/is justified, and no mutant: /'
} >"$out/wrong"
sed 's/^/mutants: /' "$out/wrong"
failures=$(wc -l <"$out/wrong")
printf 'mutants: %d caught, %d justified\n' "$caught" "$(comm -12 "$out/survived" "$out/justified" | wc -l)"
printf 'summary: mutants cases=%d states=0 schedules=0 failures=%d\n' "$(wc -l <"$out/chosen")" "$failures"
[ "$failures" = 0 ]
