#!/bin/sh
# SQLite's own test programs, from its own sources, with the glue of this folder in them.
#
#   build.sh fetch            the sources only
#   build.sh PROGRAM...       fetch, and build these (testfixture takes about two minutes)
#
# The source is the upstream archive of Debian's package sqlite3, from the mirror that this machine's apt uses, or
# SQLITE_SOURCE=file. In both cases its SHA-256 must be the one below. Sources and programs stay in the cache folder; nothing is
# installed.
# Status 77 and one line: this machine cannot (no network, no Tcl, no compiler).
set -eu
version=3.53.4
sha256=05366adc8ee80c6b1faa71285b49d133c2121238ca58934b077fdeb95934abd4
archive=sqlite3_$version.orig.tar.xz
here=$(cd "$(dirname "$0")" && pwd)
work=${PAGESTONE_SQLITE:-${CARGO_TARGET_DIR:-$here/../../../target}/sqlite-suite}
mkdir -p "$work"
work=$(cd "$work" && pwd)
# Options of the compiler only: SQLite's parser generator reads them too. Batches are what the VFS is to be tested with.
flags="-DSQLITE_ENABLE_BATCH_ATOMIC_WRITE -DSQLITE_EXTRA_INIT=pagestone_suite_start"

cannot() {
    echo "$*"
    exit 77
}

genuine() { [ -s "$1" ] && echo "$sha256  $1" | sha256sum --check --status; }

download() {
    if [ -x /usr/lib/apt/apt-helper ]; then
        /usr/lib/apt/apt-helper download-file "$1" "$2" "SHA256:$sha256"
    else
        curl --fail --silent --show-error --location --max-time 300 --output "$2" "$1"
    fi
}

# Debian's archive keeps a version while a suite has it; its snapshots keep it for good.
places() {
    apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Component: main' 'Created-By: Packages' 2>/dev/null |
        grep '/debian/$' | head -n 1
    echo http://deb.debian.org/debian/
    echo https://snapshot.debian.org/archive/debian/20261121T000000Z/
}

fetch() {
    genuine "$work/$archive" && return
    for place in "${SQLITE_SOURCE:-}" $(places); do
        case $place in
        *://*) download "${place}pool/main/s/sqlite3/$archive" "$work/$archive" >"$work/fetch.log" 2>&1 || continue ;;
        ?*) cp "$place" "$work/$archive" ;;
        *) continue ;;
        esac
        genuine "$work/$archive" && return
        echo "build.sh: what came from $place is not SQLite $version: its SHA-256 is another" >&2
    done
    rm -f "$work/$archive"
    cannot "SQLite $version could not be fetched (no network, or Debian has moved on: SQLITE_SOURCE=$archive)"
}

unpack() {
    [ -d "$work/source" ] && return
    command -v xz >/dev/null || cannot "xz is not installed, which unpacks SQLite's sources (xz-utils)"
    rm -rf "$work/unpacked"
    mkdir "$work/unpacked"
    tar -xJf "$work/$archive" -C "$work/unpacked" --strip-components=1
    # Two lines are added to SQLite's scripts: the setup of each script then reads shim.tcl and clients.tcl, if they are set.
    for pair in tester:shim lock_common:clients; do
        printf '\nif {[info exists ::env(PGS_TEST_TCL)]} { source $::env(PGS_TEST_TCL)/%s.tcl }\n' "${pair#*:}" \
            >>"$work/unpacked/test/${pair%:*}.tcl"
    done
    mv "$work/unpacked" "$work/source"
}

configure() {
    [ -f "$work/build/Makefile" ] && return
    rm -rf "$work/build"
    mkdir "$work/build"
    (cd "$work/build" && CFLAGS=-O2 "$work/source/configure" --enable-all --disable-readline >configure.log 2>&1) ||
        { tail -n 20 "$work/build/configure.log"; exit 1; }
}

build() {
    command -v "${CC:-cc}" >/dev/null && command -v make >/dev/null || cannot "there is no C compiler, or no make"
    configure
    if ! grep -q '^HAVE_TCL = 1' "$work/build/Makefile"; then
        rm -rf "$work/build"
        cannot "Tcl is not installed, which SQLite's tests are written in (tcl-dev)"
    fi
    # It is copied only if it differs, because all that is built depends on it.
    cmp -s "$here/glue.c" "$work/build/glue.c" || cp "$here/glue.c" "$work/build/glue.c"
    (cd "$work/build" && env -u MAKEFLAGS -u MAKELEVEL make -j2 EXTRA_SRC="$work/build/glue.c" OPTS="$flags" "$@") \
        >"$work/build/make.log" 2>&1 || { tail -n 20 "$work/build/make.log"; exit 1; }
    chmod -R a+rX "$work"
}

# One at a time: they build in the same folder.
exec 9>"$work/lock"
flock 9
fetch
[ "$*" != fetch ] || exit 0
unpack
build "$@"
