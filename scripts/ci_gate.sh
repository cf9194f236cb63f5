#!/usr/bin/env bash
# Did this change make it slower? Builds two commits, runs both in turns on this machine, and
# ends with 0 (no), 3 (yes, found twice) or, with GATE_FAIL_ON=inconclusive, 4 (cannot be said here).
#
#   scripts/ci_gate.sh BASE [HEAD]         # two commits; HEAD is what is checked out if not given
#   GATE_COMMAND='run resize --jobs 40 -b processes -w 2' scripts/ci_gate.sh origin/main
#
# GATE_COMMAND (default: run blur --jobs 10 -w 2; empty: no arguments), GATE_TOLERANCE (5%), GATE_BUDGET (30s) and
# GATE_FAIL_ON (worse: 4 counts as 0) say what is compared and how. The verdict also goes to
# gate/: a table for a job summary, JUnit XML and JSON. GATE_EXPORT adds exports, as in
# GATE_EXPORT='github=- bencher=gate/bencher.json'; github=- annotates a pull request.
#
# What is built is the program GATE_PROGRAM (brigade) of the repository GATE_REPO (this one).
# GATE_BASE_BIN and GATE_HEAD_BIN name executables that are there already; GATE_BRIGADE is the one
# that compares (default: head's if Brigade is what is built, else `brigade` on PATH or of this
# repository). Where nothing was compared it never ends with 0: it says what is wrong, with 1 or 2.
set -euo pipefail

base=${1:-}
head=${2:-}
if [ -z "$base" ] && [ -z "${GATE_BASE_BIN:-}" ]; then
    echo "which commit is the base? Usage: scripts/ci_gate.sh BASE [HEAD]" >&2
    exit 2
fi
fail() {
    echo "error: $1" >&2
    exit "${2:-2}"
}
root=$(cd "${GATE_REPO:-$(dirname "$0")/..}" && pwd)
program=${GATE_PROGRAM:-brigade}
out=${GATE_OUT:-$root/gate}
mkdir -p "$out"

commit() {
    git -C "$root" rev-parse --verify --quiet "$1^{commit}" || fail "there is no commit $1 in $root"
}
if [ -z "${GATE_BASE_BIN:-}${GATE_HEAD_BIN:-}" ] && [ -n "$head" ]; then
    base_id=$(commit "$base")
    head_id=$(commit "$head")
    [ "$base_id" != "$head_id" ] || fail "$base and $head are the same commit"
fi
if [ "$program" != brigade ] && [ -z "${GATE_COMMAND+given}" ]; then
    fail "what is to be run of $program? GATE_COMMAND says it; GATE_COMMAND='' is no arguments"
fi

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

for bin in "$base_bin" "$head_bin"; do
    [ -x "$bin" ] || fail "there is no executable $bin; GATE_PROGRAM names the one that is built"
done

# It has to be Brigade that compares: any program that ignores its arguments would pass every change.
brigade=${GATE_BRIGADE:-}
if [ -z "$brigade" ] && [ "$program" = brigade ]; then
    brigade=$head_bin
elif [ -z "$brigade" ]; then
    brigade=$(command -v brigade || echo "$(dirname "$0")/../target/release/brigade")
fi
version=$("$brigade" --version 2> /dev/null < /dev/null) || version=
[[ $version == brigade\ [0-9]* ]] || fail "$brigade is not Brigade; GATE_BRIGADE names the one that compares"

command=${GATE_COMMAND-run blur --jobs 10 -w 2}
rm -f "$out/gate.json" "$out/gate.xml" "$out/gate.md"
code=0
exports=()
for export in ${GATE_EXPORT:-}; do exports+=(--export "$export"); done
"$brigade" ab \
    --base "$base_bin $command" \
    --head "$head_bin $command" \
    --tolerance "${GATE_TOLERANCE:-5%}" --budget "${GATE_BUDGET:-30s}" \
    --fail-on "${GATE_FAIL_ON:-worse}" \
    --export json="$out/gate.json" --export junit="$out/gate.xml" \
    --export markdown="$out/gate.md" "${exports[@]}" || code=$?
if [ "$code" = 0 ] && ! grep -qs '"schema": *"brigade.compare.v1"' "$out/gate.json"; then
    fail "nothing was compared: $out/gate.json holds no result" 1
fi
if [ -n "${GITHUB_STEP_SUMMARY:-}" ] && [ -f "$out/gate.md" ]; then
    cat "$out/gate.md" >> "$GITHUB_STEP_SUMMARY"
fi
exit "$code"
