#!/bin/sh
# `make test-redb`: redb's own tests, with every file-backed database of them in a Pagestone region.
#
# The source is redb's crate as the registry packs it, with its tests; cargo has checked its checksum. One line of it is
# changed, one module (routed.rs) and three dependencies are added. Tests that fail are compared with the list `expected`: a failing
# test that is not on it is a failure, and so is a run that breaks off. A test that is on it and passes is reported. A test whose
# cause begins with "waits" would wait for ever and is not run.
# Then one program of redb's tests runs on a storage whose reads beyond 1 MiB are zeros: a test that passes otherwise must fail.
# The last line is for `make test-long`.
set -eu
cd "$(dirname "$0")/../../.."
root=$(pwd)
cargo=${CARGO:-cargo}
work=$(mkdir -p "${CARGO_TARGET_DIR:-target}/redb-suite" && cd "${CARGO_TARGET_DIR:-target}/redb-suite" && pwd)
tree=$work/tree

cause() {
    echo "test-redb: $1"
    echo "summary: redb cases=0 states=0 schedules=0 failures=1"
    exit 1
}

# The folder with the release of redb that is in the workspace's lock file, unpacked by cargo.
manifest=$($cargo metadata --locked --format-version 1 | tr ',' '\n' |
    sed -n 's|.*"manifest_path":"\(.*/redb-4[^"/]*/Cargo.toml\)".*|\1|p' | head -n 1)
[ -n "$manifest" ] || cause "redb's source is not there: cargo fetch"
# How many of its tests run.
whole=627
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$manifest" | head -n 1)

rm -rf "$tree"
cp -r "$(dirname "$manifest")" "$tree"
chmod -R u+w "$tree"
rm -f "$tree/rust-toolchain" "$tree/rust-toolchain.toml"
backends=$tree/src/tree_store/page_store/file_backend
sed -i 's/^pub use optimized::FileBackend;$/mod routed;\npub use routed::FileBackend;/' "$backends/mod.rs"
grep -q '^pub use routed::FileBackend;$' "$backends/mod.rs" || cause "redb $version exports its file backend elsewhere"
cp tests/suites/redb/routed.rs "$backends/routed.rs"
cat >>"$tree/Cargo.toml" <<EOF

[dependencies.registry_redb]
package = "redb"
version = "=$version"

[dependencies.pagestone]
path = "$root/engine"

[dependencies.pagestone-redb]
path = "$root/engine/redb"

[profile.test.package.pagestone]
opt-level = 2

[workspace]
EOF

# The examples are left out: one needs a crate that is not packed.
tests() { (cd "$tree" && CARGO_TARGET_DIR="$work/target" $cargo test "$@"); }
tests --lib --tests --no-run >"$work/build.log" 2>&1 || { tail -n 40 "$work/build.log"; cause "redb does not build"; }
endless=$(awk -F '\t' '$2 ~ /^waits/ { sub(/^[^:]*::/, "", $1); print "--skip", $1 }' tests/suites/redb/expected)
# shellcheck disable=SC2086
timeout "${PAGESTONE_REDB_SECONDS:-1800}" sh -c 'cd "$1" && shift && exec "$@"' - "$tree" \
    env CARGO_TARGET_DIR="$work/target" "$cargo" test --lib --tests --no-fail-fast -- $endless >"$work/log" 2>&1 || true

# "name of the test's program::name of the test", for each that ran.
results() {
    awk '/^ *Running / { split($2 == "unittests" ? "lib.rs" : $2, path, "/"); program = path[length(path)]
                         sub(/\.rs$/, "", program) }
         /^test .* \.\.\. / { print $NF, program "::" $2 }' "$1"
}
results "$work/log" | sort >"$work/results"
cases=$(grep -c '' "$work/results" || true)
sed -n 's/^FAILED //p' "$work/results" | sort -u >"$work/failing"
sed -n 's/^ok //p' "$work/results" | sort -u >"$work/passing"
grep -v '^#' tests/suites/redb/expected | cut -f 1 | sort -u >"$work/known"
unexplained=$(comm -23 "$work/failing" "$work/known")
better=$(comm -12 "$work/passing" "$work/known")
programs=$(grep -c '^ *Running ' "$work/log" || true)
ended=$(grep -c '^test result: ' "$work/log" || true)

failures=$(printf '%s' "$unexplained" | grep -c '' || true)
[ -z "$better" ] || printf 'passes although it is on the list: %s\n' $better
[ -z "$unexplained" ] || printf 'FAILED: %s\n' $unexplained
if [ "$programs" != "$ended" ] || [ "$cases" -lt "$whole" ]; then
    echo "test-redb: $((programs - ended)) programs broke off, $cases of $whole tests ran; the end of $work/log:"
    tail -n 20 "$work/log"
    failures=$((failures + 1))
fi

# On a storage that answers zeros, tests must fail that pass otherwise.
timeout "${PAGESTONE_REDB_SECONDS:-1800}" sh -c 'cd "$1" && shift && exec "$@"' - "$tree" \
    env CARGO_TARGET_DIR="$work/target" PAGESTONE_REDB_BREAK=zeros \
    "$cargo" test --no-fail-fast --test integration_tests >"$work/broken.log" 2>&1 || true
if [ -z "$(results "$work/broken.log" | sed -n 's/^FAILED //p' | sort -u | comm -23 - "$work/known")" ]; then
    echo "test-redb: redb does not notice a broken storage: its databases are not in regions"
    failures=$((failures + 1))
fi

echo "redb $version: $cases tests, $(grep -c '' "$work/failing" || true) failed," \
    "$(grep -c '' "$work/known" || true) on the list of those that cannot pass"
awk -F '\t' '!/^#/ && NF > 1 { n[$2]++ } END { for (c in n) printf "%5d %s\n", n[c], c }' tests/suites/redb/expected | sort -rn
echo "summary: redb cases=$cases states=0 schedules=0 failures=$failures"
[ "$failures" = 0 ]
