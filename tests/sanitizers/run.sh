#!/bin/sh
# Tests under a sanitizer: `run.sh miri|asan|tsan|valgrind`. What each cannot see, and what is left out: tests/README.md.
# MIRI_SEEDS=n tries n schedules and weak memories (4). The last line counts what ran.
set -u
cd "$(dirname "$0")/../.."
cargo="${CARGO:-cargo}"
what="$1"
lacks() { echo "make $what lacks $1"; exit 1; }
nightly() {
    "$cargo" +nightly --version >/dev/null 2>&1 || lacks "nightly Rust (rustup toolchain install nightly)"
    library="$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library"
    host=$(rustc +nightly -vV | sed -n 's/^host: //p')
    target="${CARGO_TARGET_DIR:-target}/$what"
}
sources() { [ -d "$library" ] || lacks "rust-src (rustup component add --toolchain nightly rust-src)"; }

# Tests in which the process has as many mappings as it may have. A sanitizer's own allocator needs more of them.
crowded=where_the_kernel_refuses_to_change_mappings

log=$(mktemp) && trap 'rm -f "$log" "$log.failed"' EXIT
# Runs a command and shows its output, in which results are counted later.
run() { { "$@" 2>&1 || echo "$1" >>"$log.failed"; } | tee -a "$log"; }

case "$what" in
miri)
    nightly
    "$cargo" +nightly miri --version >/dev/null 2>&1 || lacks "Miri (rustup component add --toolchain nightly miri)"
    sources
    export MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-many-seeds=0..${MIRI_SEEDS:-4} ${MIRIFLAGS:-}"
    miri() { run "$cargo" +nightly miri test --locked --target-dir "$target" -p pagestone --features internals --test miri -- "$@"; }
    miri --skip stores::
    # What opens a store uses crossbeam-epoch, which the older rules of aliasing refuse.
    # It keeps pointers as integers, by which Miri does not find again what a static still has: that is no leak.
    MIRIFLAGS="$MIRIFLAGS -Zmiri-tree-borrows -Zmiri-ignore-leaks"
    miri stores::
    ;;
asan)
    nightly
    run make --no-print-directory c-asan
    # Threads hesitate at places where a put must not touch its pin's pages and region any more.
    export RUSTFLAGS="-Zsanitizer=address --cfg pagestone_hesitate" ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=0}"
    # The first two that are skipped measure time and memory, which are the sanitizer's here.
    run "$cargo" +nightly test --locked --no-fail-fast --target "$host" --target-dir "$target" \
        -p pagestone --lib -p pagestone-tests --test frame --test store --test linear \
        -- --skip scale::a_huge_store --skip scale::a_scan_copies --skip "$crowded"
    ;;
tsan)
    nightly
    sources
    export RUSTFLAGS="-Zsanitizer=thread --cfg pagestone_tsan"
    export TSAN_OPTIONS="suppressions=$PWD/tests/sanitizers/tsan.supp ${TSAN_OPTIONS:-}"
    run "$cargo" +nightly test --locked --no-fail-fast -Zbuild-std --target "$host" --target-dir "$target" \
        -p pagestone-tests --test frame --test store --test linear -- --skip scale:: --skip "$crowded"
    ;;
valgrind)
    command -v valgrind >/dev/null || lacks "valgrind (apt install valgrind)"
    run make --no-print-directory c-valgrind
    ;;
*) lacks "such a sanitizer" ;;
esac

# A test that did not fail may have been ended by the sanitizer's verdict on the whole process. Miri runs several seeds at a
# time: what one writes may cut another's line, but no count, which is written at once.
awk -v what="$what" -v broken="$(cat "$log.failed" 2>/dev/null | wc -l)" '
    /^C program / { cases++ }
    {
        while (match($0, /[0-9]+ passed; [0-9]+ failed/)) {
            split(substr($0, RSTART, RLENGTH), n, / [a-z]+;? ?/)
            cases += n[1] + n[2]
            failures += n[2]
            $0 = substr($0, RSTART + RLENGTH)
        }
    }
    END {
        if (failures == 0 && (broken > 0 || cases == 0)) failures = 1
        printf "summary: %s cases=%d states=0 schedules=0 failures=%d\n", what, cases, failures
        exit failures > 0
    }' "$log"
