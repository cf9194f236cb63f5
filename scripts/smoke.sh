#!/usr/bin/env bash
# A short run of the real executable on every backend, as its user would: same
# digests everywhere, right exit codes, nothing left behind.
# Usage: scripts/smoke.sh [BRIGADE], with examples/leave_programs of the same build beside it
# (cargo build --release --example leave_programs)
set -euo pipefail
brigade=${1:-target/release/brigade}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# By which what this run has started is known.
export BRIGADE_SMOKE=$$

fail() { echo "smoke: $*" >&2; exit 1; }

digests() { grep -o '"digest":"[0-9a-f]*"' "$1" | sort; }

for setup in "sync" "async" "threads" "threads-gil" "processes --transport inline" "processes --transport shm" "processes" "processes --start-method forkserver"; do
    # shellcheck disable=SC2086  # the transport is a second word
    "$brigade" run blur --jobs 6 --size 320x240 -b $setup --format json > "$out/run.json"
    digests "$out/run.json" > "$out/now"
    [ -s "$out/now" ] || fail "no digests from $setup"
    [ -f "$out/first" ] || cp "$out/now" "$out/first"
    cmp -s "$out/first" "$out/now" || fail "$setup computes other bytes"
    echo "ok: blur on $setup"
done

"$brigade" run blur --jobs 20 --size 640x480 -b processes
code=0; "$brigade" run crash --log off > /dev/null 2>&1 || code=$?
[ "$code" = 1 ] || fail "a crashed job must exit with 1, not $code"
code=0; "$brigade" run no-such-kernel > /dev/null 2>&1 || code=$?
[ "$code" = 2 ] || fail "a wrong kernel must exit with 2, not $code"
code=0; "$brigade" run noop --worker-program /bin/false > /dev/null 2>&1 || code=$?
[ "$code" = 5 ] || fail "a pool that cannot start must exit with 5, not $code"

"$brigade" bench throughput --time 5ms --blocks 6 > "$out/throughput.txt"
grep -q 'jobs/s' "$out/throughput.txt" || fail "no jobs per second in bench throughput"
echo "ok: bench throughput"

# The scripts for shells and CI, on short settings. The gate compares a build with itself:
# it may be too noisy here to say so, but it must not say worse.
here=$(dirname "$0")
BRIGADE=$brigade "$here/compare_cores.sh" -k blur -w 1,2 -t 5s -o "$out/cores" > "$out/cores.txt"
grep -q 'speedup' "$out/cores.txt" || fail "compare_cores.sh printed no table"
[ "$(wc -l < "$out/cores.csv")" = 6 ] || fail "compare_cores.sh wrote not one row for each count and backend"
grep -q '<svg' "$out/cores.html" || fail "compare_cores.sh drew no picture"
code=0
GATE_BASE_BIN=$brigade GATE_HEAD_BIN=$brigade GATE_BUDGET=3s GATE_FAIL_ON=inconclusive \
    GATE_OUT=$out/gate GATE_COMMAND='run blur --jobs 4 --size 640x480 -w 2' \
    "$here/ci_gate.sh" || code=$?
[ "$code" = 0 ] || [ "$code" = 4 ] || fail "the gate says $code of a build and itself"
grep -q '<testcase' "$out/gate/gate.xml" || fail "the gate wrote no JUnit file"
# Building two commits is tried with a program that takes a second to build, and whose head
# sleeps for longer than its base.
mkdir -p "$out/tiny/src"
cat > "$out/tiny/Cargo.toml" <<'TOML'
[package]
name = "tiny"
version = "0.1.0"
edition = "2021"
[workspace]
TOML
tiny() {
    echo "fn main() { std::thread::sleep(std::time::Duration::from_millis($1)) }" \
        > "$out/tiny/src/main.rs"
    git -C "$out/tiny" add --all
    git -C "$out/tiny" -c user.name=smoke -c user.email=smoke@localhost commit --quiet -m "$1 ms"
}
git -c init.defaultBranch=main init --quiet "$out/tiny"
echo gate > "$out/tiny/.gitignore"
printf '# Not edited by hand.\nversion = 3\n[[package]]\nname = "tiny"\nversion = "0.1.0"\n' \
    > "$out/tiny/Cargo.lock"
tiny 5
tiny 60
code=0
GATE_REPO=$out/tiny GATE_PROGRAM=tiny GATE_BRIGADE=$brigade GATE_COMMAND= GATE_BUDGET=5s \
    GATE_OUT=$out/tiny/gate GATE_EXPORT="github=$out/annotations" \
    "$here/ci_gate.sh" HEAD~1 HEAD || code=$?
[ "$code" = 3 ] || [ "$code" = 4 ] || fail "the gate says $code of a program that takes ten times as long"
grep -q '^::' "$out/annotations" || fail "the gate wrote no annotation"
[ ! -e "$out/tiny/gate/base" ] || fail "the gate left its worktree behind"
# Where nothing is compared the gate is not green.
gate() { env GATE_REPO="$out/tiny" GATE_PROGRAM=tiny GATE_BRIGADE="$brigade" GATE_COMMAND= GATE_BUDGET=3s \
    GATE_OUT="$out/tiny/gate" "$@" > "$out/gate.txt" 2>&1; }
refuses() {
    local expected=$1 said=$2 code=0
    shift 2
    gate "$@" || code=$?
    [ "$code" = "$expected" ] && grep -q "$said" "$out/gate.txt" \
        || fail "the gate ends with $code, not $expected, or does not say '$said': $(cat "$out/gate.txt")"
}
script=$here/ci_gate.sh
printf '#!/bin/sh\nexit 0\n' > "$out/pass"
printf '#!/bin/sh\necho brigade 9.9.9\n' > "$out/mute"
chmod +x "$out/pass" "$out/mute"
refuses 2 'is not Brigade' GATE_BRIGADE="$out/pass" "$script" HEAD~1 HEAD
refuses 2 'is not Brigade' GATE_BRIGADE=/no/such/program "$script" HEAD~1 HEAD
refuses 1 'nothing was compared' GATE_BRIGADE="$out/mute" "$script" HEAD~1 HEAD
refuses 2 'are the same commit' "$script" HEAD HEAD
refuses 2 'no commit nowhere' "$script" nowhere HEAD
refuses 2 'no executable' GATE_PROGRAM=other "$script" HEAD~1 HEAD
refuses 2 'GATE_COMMAND says it' sh -c 'unset GATE_COMMAND; exec "$@"' sh "$script" HEAD~1 HEAD
refuses 2 'exited with status 1' GATE_BASE_BIN="$out/pass" GATE_HEAD_BIN=/bin/false "$script"
echo "ok: scripts for shells and CI"

if command -v python3 > /dev/null; then
    for method in spawn forkserver; do
        python3 "$here/chaos.py" --brigade "$brigade" --jobs 1500 --every 25 --start-method $method \
            || fail "a storm over 1,500 jobs lost or changed some"
    done
    echo "ok: a storm"
    python3 "$here/poison.py" --brigade "$brigade" --rounds 3 --slack 0.5 \
        || fail "four bad jobs among a thousand did not fail alone, or held the others up"
    echo "ok: poison"
    python3 "$here/kill_coordinator.py" --brigade "$(dirname "$brigade")/examples/leave_programs" \
        --kills 8 --jobs 60 \
        || fail "a run whose coordinator was killed was not completed"
    echo "ok: a coordinator that is killed"
    python3 "$here/soak.py" --brigade "$brigade" --minutes 0.25 --look 0.25 --every 200 \
        || fail "something grew, or a job was lost or changed"
    echo "ok: a short soak"
fi

# Of this run only: another Brigade may run on this machine.
for process in /proc/[0-9]*; do
    if grep -qa brigade "$process/cmdline" 2> /dev/null && [ "$process" != "/proc/$$" ] \
        && grep -qaz "^BRIGADE_SMOKE=$$\$" "$process/environ" 2> /dev/null; then
        fail "process ${process#/proc/} is left behind"
    fi
done
echo "ok: exit codes, nothing left behind"
