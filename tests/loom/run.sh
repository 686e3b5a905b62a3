#!/bin/sh
# Runs the models over the real code. Then it breaks one rule at a time and demands that the model named beside it fails.
# With `deep` each model searches deeper, for at most LOOM_MAX_DURATION seconds (60), and no rule is broken.
# LOOM_MAX_PREEMPTIONS sets the depth.
set -eu
cd "$(dirname "$0")/../.."
# A target directory of its own: the cfg rebuilds everything.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom"
# The collector of replaced values is in the models, too.
export RUSTFLAGS="--cfg pagestone_loom --cfg crossbeam_loom" CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true
if [ "${1:-}" = deep ]; then
    export PAGESTONE_LOOM=deep LOOM_MAX_DURATION="${LOOM_MAX_DURATION:-60}"
fi

built=$("${CARGO:-cargo}" test --locked --release --no-run -p pagestone --features internals --test loom 2>&1) || { echo "$built"; exit 1; }
models=$(echo "$built" | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
list=$("$models" --list --format terse | sed -n 's/: test$//p')

failed=0
said=$("$models" --nocapture 2>&1) || failed=1
echo "$said" | sed -n '/^loom: /p'
if [ "$failed" != 0 ]; then
    echo "$said" | sed '/^loom: /d'
    failed=$(echo "$said" | sed -n 's/^test result: FAILED.* \([0-9]*\) failed.*/\1/p')
    failed=${failed:-1}
fi
histories=$(echo "$said" | awk '/^loom: .* histories/ { for (i = 2; i <= NF; i++) if ($i == "histories,") n += $(i - 1) } END { print n + 0 }')

missed=0
while read -r mutant model; do
    case "$mutant" in "" | "#"*) continue ;; esac
    [ "${1:-}" != deep ] || break
    name=$(echo "$list" | grep -E "(^|::)$model\$") || { echo "loom: no model is named $model"; exit 1; }
    if output=$(PAGESTONE_MUTANT=$mutant "$models" --exact "$name" 2>&1); then
        echo "loom: MISSED  $mutant: $model passes without the rule"
        missed=$((missed + 1))
    else
        echo "loom: caught  $mutant by $model: $(echo "$output" | grep -m1 -A1 'panicked at' | tail -n1)"
    fi
done <tests/loom/mutants
failures=$((failed + missed))
echo "summary: loom cases=$(echo "$list" | wc -l) states=0 schedules=$histories failures=$failures"
[ "$failures" = 0 ]
