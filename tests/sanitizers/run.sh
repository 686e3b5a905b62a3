#!/bin/sh
# The Rust tests under a sanitizer: `run.sh miri|asan|tsan`. What each cannot see: tests/README.md.
# MIRI_SEEDS=n tries n schedules and weak memories (4).
set -eu
cd "$(dirname "$0")/../.."
cargo="${CARGO:-cargo}"
what="$1"
lacks() { echo "make $what lacks $1"; exit 1; }
"$cargo" +nightly --version >/dev/null 2>&1 || lacks "nightly Rust (rustup toolchain install nightly)"
library="$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library"
host=$(rustc +nightly -vV | sed -n 's/^host: //p')
target="${CARGO_TARGET_DIR:-target}/$what"
case "$what" in
miri)
    "$cargo" +nightly miri --version >/dev/null 2>&1 || lacks "Miri (rustup component add --toolchain nightly miri)"
    [ -d "$library" ] || lacks "rust-src (rustup component add --toolchain nightly rust-src)"
    export MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-many-seeds=0..${MIRI_SEEDS:-4} ${MIRIFLAGS:-}"
    exec "$cargo" +nightly miri test --locked --target-dir "$target" -p pagestone --test miri
    ;;
asan)
    export RUSTFLAGS="-Zsanitizer=address" ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=0}"
    exec "$cargo" +nightly test --locked --target "$host" --target-dir "$target" \
        -p pagestone --lib -p pagestone-tests --test frame --test store --test linear
    ;;
tsan)
    [ -d "$library" ] || lacks "rust-src (rustup component add --toolchain nightly rust-src)"
    export RUSTFLAGS="-Zsanitizer=thread"
    export TSAN_OPTIONS="suppressions=$PWD/tests/sanitizers/tsan.supp ${TSAN_OPTIONS:-}"
    exec "$cargo" +nightly test --locked -Zbuild-std --target "$host" --target-dir "$target" \
        -p pagestone-tests --test frame --test store --test linear
    ;;
*) lacks "such a sanitizer" ;;
esac
