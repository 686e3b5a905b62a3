#!/bin/sh
# `make test-sqlite`: SQLite's own tests on the VFS, and the verdict. README.md of this folder says what is run and why.
#
#   PARTS="veryquick mmap crash threads programs"   what is run; `subset` is what `make test` runs of veryquick
#   STOCK=1                                 the same programs on SQLite's own VFS: nothing is excused
#   ONLY="wal*.test pager1.test"            these scripts of the parts alone (the lists are then not checked for truth)
#   SCRATCH=folder                          where the databases are (default: /dev/shm where it is large, else TMPDIR)
#   LIMIT=120  JOBS=processors              seconds for a script (crash: 1800), scripts at a time
#   PGS_PROFILE=release                     how the engine is built; dev: with its assertions
#   PGS_VFS_ASSUME=cacheline                the durability to work with (on /dev/shm it is volatile)
#
# One process for each script: a crash or a hang costs one script. The output of each stays in the cache folder, results/.
# Status 77 and one line: this machine cannot build the programs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=$(mkdir -p "${CARGO_TARGET_DIR:-$root/target}" && cd "${CARGO_TARGET_DIR:-$root/target}" && pwd)
work=${PAGESTONE_SQLITE:-$target/sqlite-suite}
profile=${PGS_PROFILE:-release}
parts=${PARTS:-veryquick mmap crash threads programs}
side=$([ -n "${STOCK:-}" ] && echo stock || echo ours)

stop() {
    echo "test-sqlite: $1"
    echo "summary: sqlite cases=0 states=0 schedules=0 failures=1"
    exit 1
}

# As every part of `make test` that cannot run on a machine, this is said aloud and counted.
cannot() {
    skipped="SKIPPED: SQLite's own tests: $1"
    echo "$skipped"
    [ -z "${PAGESTONE_SKIPPED:-}" ] || echo "$skipped" >>"$PAGESTONE_SKIPPED"
    exit 77
}

# If this is root, the tests run as the user `nobody`: some of them check that a file without permissions is refused.
as_user() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; else "$@"; fi
}

# Runs one script in a folder of its own. Its log ends with how its process ended.
if [ "${1:-}" = one ]; then
    folder=$(mktemp -d "$SUITE_SCRATCH/d.XXXXXX")
    chmod 777 "$folder"
    cd "$folder"
    status=0
    case $SUITE_PERMUTATION in
    threads) set -- "$2" "$SUITE_PROGRAMS/threadtest3" "$2" ;;
    *) set -- "$2" env SQLITE_TEST_PATTERN_LIST="$2" "$SUITE_PROGRAMS/testfixture" \
        "$SUITE_SOURCE/test/permutations.test" "$SUITE_PERMUTATION" ;;
    esac
    script=$1
    shift
    as_user timeout -k 5 "$SUITE_LIMIT" "$@" >"$SUITE_LOGS/$script" 2>&1 </dev/null || status=$?
    printf '\n@@status %s\n' "$status" >>"$SUITE_LOGS/$script"
    cd /
    rm -rf "$folder"
    exit 0
fi

# ---- what is needed ----

# Without SQLite's shell, the scripts about it say that they are clean.
programs=testfixture
case " $parts " in *" veryquick "* | *" mmap "* | *" programs "*) programs="$programs sqlite3" ;; esac
case " $parts " in *" threads "*) programs="$programs threadtest3" ;; esac
case " $parts " in *" programs "*) programs="$programs speedtest1 kvtest" ;; esac
# shellcheck disable=SC2086
said=$(sh "$here/build.sh" $programs) || {
    status=$?
    [ "$status" != 77 ] || cannot "$said"
    stop "SQLite's programs do not build: $said"
}
work=$(cd "$work" && pwd)

# The extension is the one that users build, but with its assertions: one of them finds a pin that is still held at xClose.
# SQLite's headers are those of the suite.
if [ "$side" = ours ]; then
    mkdir -p "$work/$profile"
    library=$target/$([ "$profile" = dev ] && echo debug || echo "$profile")/c/libpagestone.a
    said=$(cd "$root" && env -u MAKEFLAGS -u MAKELEVEL CARGO_TARGET_DIR="$target" make -s lib PGS_PROFILE="$profile" 2>&1 &&
        make -s -f bindings-c/sqlite/Makefile CFLAGS="-O2 -g" SQLITE_INCLUDE="$work/build" \
            OUT="$work/$profile/pagestone_vfs.so" LIBPAGESTONE="$library" 2>&1 &&
        "${CC:-cc}" -O2 -shared -fPIC -I "$work/build" -o "$work/$profile/shim.so" "$here/shim.c" 2>&1) ||
        stop "the extension does not build: $said"
fi

roomy() { [ -w "$1" ] && [ "$(df -Pk "$1" | awk 'END { print $4 }')" -gt 2000000 ]; }
place=${SCRATCH:-$(roomy /dev/shm && echo /dev/shm || echo "${TMPDIR:-/tmp}")}
SUITE_SCRATCH=$(mktemp -d "$place/sqlite-suite.XXXXXX")
staged=$(mktemp -d "$work/run.XXXXXX")
trap 'rm -rf "$SUITE_SCRATCH" "$staged"' EXIT
trap 'exit 1' INT TERM
chmod 755 "$SUITE_SCRATCH"
cp "$here"/*.tcl "$SUITE_SCRATCH"
SUITE_PROGRAMS=$work/build SUITE_SOURCE=$work/source

# The user `nobody` cannot see everything that root has built.
if ! as_user test -x "$SUITE_PROGRAMS/testfixture"; then
    rm -rf "$staged"
    staged=$(mktemp -d "${TMPDIR:-/tmp}/sqlite-suite.XXXXXX")
    mkdir "$staged/build"
    for program in $programs; do cp "$work/build/$program" "$staged/build"; done
    cp -r "$work/source" "$staged/source"
    SUITE_PROGRAMS=$staged/build SUITE_SOURCE=$staged/source
fi
# A copy, because another run may build it again meanwhile.
[ "$side" = stock ] || cp "$work/$profile/pagestone_vfs.so" "$work/$profile/shim.so" "$staged"
chmod -R a+rX "$staged"
export SUITE_SCRATCH SUITE_PROGRAMS SUITE_SOURCE
# A second process is refused at once: otherwise its busy handler would wait for a process that waits for it.
export PGS_VFS_WAIT=0

# The VFS, and the scripts that show its objects to the tests (shim.tcl, clients.tcl).
if [ "$side" = ours ]; then
    PGS_TEST_VFS=$staged/pagestone_vfs.so PGS_TEST_SHIM=$staged/shim.so PGS_TEST_TCL=$SUITE_SCRATCH
    export PGS_TEST_VFS PGS_TEST_SHIM PGS_TEST_TCL
else
    unset PGS_TEST_VFS PGS_TEST_TCL
fi

# ---- the scripts of SQLite's tests ----

failures=0 total=0
fail() {
    echo "FAILED: $1"
    failures=$((failures + 1))
}

in_scratch() {
    folder=$(mktemp -d "$SUITE_SCRATCH/d.XXXXXX")
    chmod 777 "$folder"
    (cd "$folder" && as_user "$@") || { set -- $?; rm -rf "$folder"; return "$1"; }
    rm -rf "$folder"
}

# The default VFS must be the right one, and its commits must be batches.
probe() {
    said=$(in_scratch "$SUITE_PROGRAMS/testfixture" "$SUITE_SCRATCH/probe.tcl" 2>&1) || true
    case $side.$said in
    stock.*"vfs unix"*) return ;;
    ours.*"vfs pagestone"*) case $said in *batches=[1-9]*) return ;; esac ;;
    esac
    stop "these tests would not run on the VFS that is meant ($side): $said"
}

# Each program must take the VFS that it is given: with one that does not exist it ends as glue.c says.
glued() {
    case $1 in
    testfixture) set -- "$1" "$SUITE_SCRATCH/probe.tcl" ;;
    threadtest3) set -- "$1" walthread5 ;;
    kvtest) set -- "$1" init probe.db --count 1 --size 1 ;;
    *) set -- "$1" :memory: ;;
    esac
    program=$1
    shift
    status=0
    in_scratch env PGS_TEST_VFS=/nonexistent "$SUITE_PROGRAMS/$program" "$@" >/dev/null 2>&1 </dev/null || status=$?
    [ "$status" = 70 ] || stop "$program does not take the VFS that it is given (status $status)"
}

# The scripts of a part: those of its permutation, or the few that were chosen.
scripts() {
    if [ "$1" = threads ]; then
        "$SUITE_PROGRAMS/threadtest3" -help | sed -n 's/^   //p'
    else
        in_scratch "$SUITE_PROGRAMS/testfixture" "$SUITE_SCRATCH/scripts.tcl" "$SUITE_SOURCE" "$SUITE_PERMUTATION" |
            sed -n 's/^script //p'
    fi >"$SUITE_LOGS.permutation"
    case $1 in
    subset) grep -v '^#' "$here/subset" ;;
    crash) grep -v '^#' "$here/crash" ;;
    *) cat "$SUITE_LOGS.permutation" ;;
    esac | grep -Fx -f "$SUITE_LOGS.permutation" >"$SUITE_LOGS.scripts" || true
    [ -z "${ONLY:-}" ] && return
    for pattern in $ONLY; do echo "$pattern" | sed 's/\./\\./g; s/\*/.*/g; s/.*/^&$/'; done >"$SUITE_LOGS.only"
    grep -f "$SUITE_LOGS.only" "$SUITE_LOGS.scripts" >"$SUITE_LOGS.few" || true
    mv "$SUITE_LOGS.few" "$SUITE_LOGS.scripts"
}

# part, permutation, how many scripts it must have
run_scripts() {
    SUITE_PERMUTATION=$2 SUITE_LOGS=$work/results/$side-$1
    export SUITE_PERMUTATION SUITE_LOGS
    rm -rf "$SUITE_LOGS" "$SUITE_LOGS".*
    mkdir -p "$SUITE_LOGS"
    scripts "$1"
    [ -n "${ONLY:-}" ] || [ "$(grep -c '' "$SUITE_LOGS.scripts")" -ge "$3" ] ||
        fail "$1 has $(grep -c '' "$SUITE_LOGS.scripts") scripts, not $3"
    begun=$(date +%s)
    xargs -P "${JOBS:-$(nproc)}" -n 1 sh "$here/suite.sh" one <"$SUITE_LOGS.scripts"
    seconds=$(($(date +%s) - begun))
    expected=$([ "$side" = ours ] && echo "$here/expected" || echo /dev/null)
    awk -v part="$1" -v whole="${ONLY:-whole}" -v logs="$SUITE_LOGS" -f "$here/judge.awk" "$expected" "$SUITE_LOGS.scripts" \
        >"$SUITE_LOGS.verdict"
    grep -v '^@@' "$SUITE_LOGS.verdict" || true
    read -r _ cases errors clean explained bad <<-END
	$(grep '^@@' "$SUITE_LOGS.verdict")
	END
    echo "$1, $side: $cases cases ($errors errors), $clean of $(grep -c '' "$SUITE_LOGS.scripts") scripts clean," \
        "$explained explained, $bad failures, $seconds s"
    failures=$((failures + bad)) total=$((total + cases))
}

# ---- SQLite's other programs ----

# Calls a program, which must succeed. Its output stays in $SUITE_LOGS/NAME.
call() {
    log=$SUITE_LOGS/$1
    shift
    total=$((total + 1)) calls=$((calls + 1))
    (cd "$folder" && as_user timeout -k 5 600 "$@") >"$log" 2>&1 || fail "programs ${log##*/}: $* ($(tail -n 3 "$log"))"
}

whole() {
    call "$1-integrity" "$SUITE_PROGRAMS/sqlite3" -batch "$2" "PRAGMA integrity_check"
    [ "$(cat "$SUITE_LOGS/$1-integrity")" = ok ] || fail "programs $1: $2 is not whole"
}

# speedtest1 must read the same as on SQLite's own VFS.
speedtest() {
    name=$1
    shift
    call "speedtest1-$name" "$SUITE_PROGRAMS/speedtest1" --size 20 --verify "$@" "$name.db"
    whole "speedtest1-$name" "$name.db"
    call "speedtest1-$name-stock" env -u PGS_TEST_VFS "$SUITE_PROGRAMS/speedtest1" --size 20 --verify "$@" "$name.stock"
    hash=$(sed -n 's/^Verification Hash//p' "$SUITE_LOGS/speedtest1-$name")
    [ -n "$hash" ] && [ "$hash" = "$(sed -n 's/^Verification Hash//p' "$SUITE_LOGS/speedtest1-$name-stock")" ] ||
        fail "programs speedtest1 $name: it read other data than on SQLite's own VFS"
}

kvtest() {
    call kvtest-init "$SUITE_PROGRAMS/kvtest" init kv.db --count 10k --size 12000 --variance 5000
    call kvtest-random "$SUITE_PROGRAMS/kvtest" run kv.db --count 10k --random --blob-api --integrity-check
    call kvtest-mapped "$SUITE_PROGRAMS/kvtest" run kv.db --count 10k --desc --mmap 1000000000
    for mode in delete truncate persist wal; do
        call "kvtest-$mode" "$SUITE_PROGRAMS/kvtest" run kv.db --count 2k --update --multitrans --jmode "$mode" --integrity-check
    done
    call kvtest-vacuum "$SUITE_PROGRAMS/kvtest" stat kv.db --vacuum
    whole kvtest kv.db
}

run_programs() {
    SUITE_LOGS=$work/results/$side-programs calls=0
    rm -rf "$SUITE_LOGS"
    mkdir -p "$SUITE_LOGS"
    folder=$(mktemp -d "$SUITE_SCRATCH/d.XXXXXX")
    chmod 777 "$folder"
    before=$failures begun=$(date +%s)
    speedtest delete
    speedtest mapped --mmap 268435456
    speedtest wal --journal wal
    kvtest
    echo "programs, $side: speedtest1 and kvtest, $calls calls, $((failures - before)) failures, $(($(date +%s) - begun)) s"
    rm -rf "$folder"
}

for program in $programs; do glued "$program"; done
probe
for part in $parts; do
    SUITE_LIMIT=${LIMIT:-120}
    export SUITE_LIMIT
    case $part in
    subset) run_scripts subset veryquick 322 ;;
    veryquick) run_scripts veryquick veryquick 1238 ;;
    mmap) run_scripts mmap mmap 1261 ;;
    crash) SUITE_LIMIT=${LIMIT:-1800} && run_scripts crash full "$(grep -vc '^#' "$here/crash")" ;;
    threads) run_scripts threads threads 15 ;;
    programs) run_programs ;;
    *) fail "there is no part $part" ;;
    esac
done
echo "summary: sqlite cases=$total states=0 schedules=0 failures=$failures"
[ "$failures" = 0 ]
