#!/bin/sh
# Runs the models over the real code; then breaks one rule at a time and demands that the model named beside it fails.
# LOOM_MAX_PREEMPTIONS overrides how deep each model searches.
set -eu
cd "$(dirname "$0")/../.."
# A target directory of its own: the cfg rebuilds everything.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
export RUSTFLAGS="--cfg pagestone_loom" CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
models() { "${CARGO:-cargo}" test --locked --release --quiet -p pagestone --test loom -- "$@"; }

models
missed=0
while read -r mutant model; do
    case "$mutant" in "" | "#"*) continue ;; esac
    [ -n "$(models --list "$model" 2>/dev/null)" ] || { echo "loom: no model is named $model"; exit 1; }
    if output=$(PAGESTONE_MUTANT=$mutant models "$model" 2>&1); then
        echo "loom: MISSED  $mutant: $model passes without the rule"
        missed=$((missed + 1))
    else
        echo "loom: caught  $mutant by $model: $(echo "$output" | grep -m1 -A1 'panicked at' | tail -n1)"
    fi
done <tests/loom/mutants
[ "$missed" = 0 ]
