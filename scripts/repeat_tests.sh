#!/usr/bin/env bash
# Runs the tests N times and lists the runs: a test that is red now and then shows only so.
# Usage: scripts/repeat_tests.sh N [--load [PROCESSES]] [--trial NAME]
#   --load   beside so many processes that compute all the time (default: one per core)
#   --trial  only the trials of the conformance suite whose names contain NAME ('' for all of them)
# Builds once. Prints one line per run (number, seconds, green or red, names of red tests) and a
# last one with the count. Exit 1 if a run was red.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    sed -n '3,5s/^# *//p' "$0" >&2
    exit 2
}

runs=${1:-}
[[ $runs =~ ^[1-9][0-9]*$ ]] || usage
shift
load=0
only=()
while [ $# -gt 0 ]; do
    case $1 in
    --load)
        load=$(nproc)
        if [[ ${2:-} =~ ^[0-9]+$ ]]; then
            load=$2
            shift
        fi
        ;;
    --trial)
        [ $# -ge 2 ] || usage
        only=("$2")
        shift
        ;;
    *) usage ;;
    esac
    shift
done

logs=${CARGO_TARGET_DIR:-target}/repeat_tests/$(date +%Y%m%d-%H%M%S)-$$
mkdir -p "$logs"
echo "logs: $logs"

if [ ${#only[@]} -eq 0 ]; then
    tests=(cargo test --workspace --locked --no-fail-fast)
    "${tests[@]}" --no-run >"$logs/build" 2>&1 || { tail -n 40 "$logs/build"; exit 1; }
else
    # Built as with the others: the features of a crate alone would have everything built once more.
    cargo test --workspace --locked --no-fail-fast --test conformance --no-run >"$logs/build" 2>&1 ||
        { tail -n 40 "$logs/build"; exit 1; }
    program=$(sed -n 's/.*Executable .*(\(.*\))$/\1/p' "$logs/build")
    tests=("$(realpath "$program")" ${only[0]:+"${only[0]}"})
    if [ "$("${tests[@]}" --list | grep -c ': test$')" = 0 ]; then
        echo "no trial's name contains '${only[0]}'" >&2
        exit 2
    fi
fi

busy=()
run=
finish() {
    # A run is a process group of its own, so that Ctrl-C ends what it has started as well.
    [ -z "$run" ] || kill -- "-$run" 2>/dev/null || true
    [ ${#busy[@]} -eq 0 ] || kill "${busy[@]}" 2>/dev/null || true
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for ((i = 0; i < load; i++)); do
    (while :; do :; done) &
    busy+=($!)
done

red=0
for ((i = 1; i <= runs; i++)); do
    log=$logs/$i
    begin=$SECONDS
    setsid "${tests[@]}" >"$log" 2>&1 </dev/null &
    run=$!
    # Names the red tests; if a test could not be started, quotes Cargo's errors.
    if wait "$run"; then
        colour=green names=
    else
        colour=red red=$((red + 1))
        names=$(sed -n 's/^test \(.*\) \.\.\. FAILED.*/\1/p' "$log" | paste -sd ';')
        names=${names:-$(grep -m 3 '^error' "$log" | paste -sd ';' || true)}
    fi
    run=
    echo "$i  $((SECONDS - begin)) s  $colour${names:+  $names}"
done
beside=
[ "$load" -eq 0 ] || beside=" beside $load busy processes"
echo "$((runs - red)) of $runs green$beside"
[ "$red" -eq 0 ]
