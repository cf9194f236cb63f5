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
"$brigade" ab --base "$brigade run blur --jobs 4 --size 640x480 -w 2" --head "$brigade run blur --jobs 4 --size 640x480 -w 2" \
    --budget 3s --metric cpu,wall > "$out/ab.txt" || code=$?
[ "$code" = 0 ] || [ "$code" = 4 ] || fail "ab says $code of a build and itself: $(cat "$out/ab.txt")"
# The gate builds two commits of a repository that is not Brigade's: a program in C, and one in
# Python that nothing builds. Head computes twice as much as base.
mkdir -p "$out/foreign"
cat > "$out/foreign/brigade-gate.toml" <<'TOML'
build = "cc -O1 -o loop loop.c"
budget = "20s"
[[benchmark]]
name = "c"
command = "./loop {n}"
parameters = { n = ["3000000"] }
[[benchmark]]
name = "python"
command = "python3 loop.py | cat"
shell = true
TOML
foreign() {
    cat > "$out/foreign/loop.c" <<C
#include <stdlib.h>
int main(int argc, char **argv) {
    volatile unsigned long sum = 0;
    for (long i = 0; i < $1 * (argc > 1 ? atol(argv[1]) : 0); i++) sum += i;
    return 0;
}
C
    echo "print(sum(i * i for i in range($1 * 200000)))" > "$out/foreign/loop.py"
    git -C "$out/foreign" add --all
    git -C "$out/foreign" -c user.name=smoke -c user.email=smoke@localhost commit --quiet -m "$1 times"
}
git -c init.defaultBranch=main init --quiet "$out/foreign"
foreign 2
foreign 4
code=0
GATE_BRIGADE=$brigade "$here/ci_gate.sh" HEAD~1 HEAD --repository "$out/foreign" --cache "$out/checkouts" \
    --export github="$out/annotations" --export junit="$out/gate.xml" > "$out/gate.txt" 2>&1 || code=$?
[ "$code" = 3 ] || fail "the gate says $code of what takes twice as long: $(cat "$out/gate.txt")"
grep -q '^::' "$out/annotations" || fail "the gate wrote no annotation"
grep -q '<testcase name="python cpu"' "$out/gate.xml" || fail "the gate wrote no test case for a benchmark"
echo "ok: scripts for shells and CI"

if command -v python3 > /dev/null; then
    for pool in "--start-method spawn" "--start-method forkserver" "--transport shm --every 10"; do
        # shellcheck disable=SC2086 # Several words each.
        python3 "$here/chaos.py" --brigade "$brigade" --jobs 1500 --every 25 $pool \
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
