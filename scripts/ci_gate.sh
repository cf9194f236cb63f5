#!/usr/bin/env bash
# Did this change make it slower? Builds two commits, runs both in turns on this machine, and
# ends with 0 (no), 3 (yes, found twice) or 4 (cannot be said here).
#
#   scripts/ci_gate.sh BASE [HEAD]         # two commits; HEAD is what is checked out if not given
#   GATE_COMMAND='run resize --jobs 40 -b processes -w 2' scripts/ci_gate.sh origin/main
#
# GATE_COMMAND (default: run blur --jobs 10 -w 2), GATE_TOLERANCE (5%), GATE_BUDGET (30s) and
# GATE_FAIL_ON (worse: 4 counts as 0) say what is compared and how. The verdict also goes to
# gate/: a table for a job summary, JUnit XML and JSON.
set -euo pipefail

base=${1:?which commit is the base? Usage: scripts/ci_gate.sh BASE [HEAD]}
head=${2:-}
root=$(git rev-parse --show-toplevel)
out=$root/gate
mkdir -p "$out"

# One worktree and one target directory for each side: nothing of one is in the other.
build() {
    local commit=$1 name=$2
    if [ -n "$commit" ]; then
        rm -rf "$out/$name"
        git -C "$root" worktree prune
        git -C "$root" worktree add --quiet --detach "$out/$name" "$commit"
        cargo build --release --locked --quiet --manifest-path "$out/$name/Cargo.toml" \
            --target-dir "$out/target-$name"
    else
        cargo build --release --locked --quiet --manifest-path "$root/Cargo.toml" \
            --target-dir "$out/target-$name"
    fi
}
trap 'git -C "$root" worktree remove --force "$out/base" 2>/dev/null || true
      git -C "$root" worktree remove --force "$out/head" 2>/dev/null || true' EXIT
build "$base" base
build "$head" head

command=${GATE_COMMAND:-run blur --jobs 10 -w 2}
code=0
"$out/target-head/release/brigade" ab \
    --base "$out/target-base/release/brigade $command" \
    --head "$out/target-head/release/brigade $command" \
    --tolerance "${GATE_TOLERANCE:-5%}" --budget "${GATE_BUDGET:-30s}" \
    --fail-on "${GATE_FAIL_ON:-worse}" \
    --export json="$out/gate.json" --export junit="$out/gate.xml" \
    --export markdown="$out/gate.md" || code=$?
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    cat "$out/gate.md" >> "$GITHUB_STEP_SUMMARY"
fi
exit "$code"
