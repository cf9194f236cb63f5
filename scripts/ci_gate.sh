#!/usr/bin/env bash
# Did this change make it slower? Builds two commits, runs both in turns on this machine, and
# ends with 0 (no), 3 (yes, found twice) or, with GATE_FAIL_ON=inconclusive, 4 (cannot be said here).
#
#   scripts/ci_gate.sh BASE [HEAD]         # two commits; HEAD is what is checked out if not given
#   GATE_COMMAND='run resize --jobs 40 -b processes -w 2' scripts/ci_gate.sh origin/main
#
# GATE_COMMAND (default: run blur --jobs 10 -w 2), GATE_TOLERANCE (5%), GATE_BUDGET (30s) and
# GATE_FAIL_ON (worse: 4 counts as 0) say what is compared and how. The verdict also goes to
# gate/: a table for a job summary, JUnit XML and JSON. GATE_EXPORT adds exports, as in
# GATE_EXPORT='github=- bencher=gate/bencher.json'; github=- annotates a pull request.
#
# What is built is the program GATE_PROGRAM (brigade) of the repository GATE_REPO (this one).
# GATE_BASE_BIN and GATE_HEAD_BIN name executables that are there already; GATE_BRIGADE
# (default: head's) is the one that compares.
set -euo pipefail

base=${1:-}
head=${2:-}
if [ -z "$base" ] && [ -z "${GATE_BASE_BIN:-}" ]; then
    echo "which commit is the base? Usage: scripts/ci_gate.sh BASE [HEAD]" >&2
    exit 2
fi
root=$(cd "${GATE_REPO:-$(dirname "$0")/..}" && pwd)
program=${GATE_PROGRAM:-brigade}
out=${GATE_OUT:-$root/gate}
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
base_bin=${GATE_BASE_BIN:-$out/target-base/release/$program}
head_bin=${GATE_HEAD_BIN:-$out/target-head/release/$program}
[ -n "${GATE_BASE_BIN:-}" ] || build "$base" base
[ -n "${GATE_HEAD_BIN:-}" ] || build "$head" head

command=${GATE_COMMAND:-run blur --jobs 10 -w 2}
code=0
exports=()
for export in ${GATE_EXPORT:-}; do exports+=(--export "$export"); done
"${GATE_BRIGADE:-$head_bin}" ab \
    --base "$base_bin $command" \
    --head "$head_bin $command" \
    --tolerance "${GATE_TOLERANCE:-5%}" --budget "${GATE_BUDGET:-30s}" \
    --fail-on "${GATE_FAIL_ON:-worse}" \
    --export json="$out/gate.json" --export junit="$out/gate.xml" \
    --export markdown="$out/gate.md" "${exports[@]}" || code=$?
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$out/gate.md" ]; then
    cat "$out/gate.md" >> "$GITHUB_STEP_SUMMARY"
fi
exit "$code"
