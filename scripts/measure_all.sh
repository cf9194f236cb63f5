#!/usr/bin/env bash
# Everything that README and docs/bench.md claim about the cost of isolation, in one go:
# about a quarter of an hour, with nothing else running. Each result is a text file in OUT; that of
# `bench all` is JSON and a page with pictures as well.
# Usage: scripts/measure_all.sh OUT [BRIGADE]
set -euo pipefail
out=${1:?Usage: scripts/measure_all.sh OUT [BRIGADE]}
brigade=${2:-target/release/brigade}
mkdir -p "$out"

measure() {
    local name=$1
    shift
    echo "brigade $*" >&2
    { echo "\$ brigade $*"; "$brigade" "$@"; } > "$out/$name.txt" 2> "$out/$name.err"
}

measure latency bench latency
measure throughput bench throughput
measure startup bench startup
measure startup-workers bench startup -w 1,2,4,8 --blocks 9
measure isolation bench isolation
measure spin-1ms bench throughput --kernel spin -p us=1000 --depth 2 --blocks 9
measure spin-10ms bench throughput --kernel spin -p us=10000 --depth 2 --blocks 7
measure blur bench throughput --kernel blur --size 1920x1080 --depth 2 --blocks 9 --time 400ms
measure scaling bench scaling
measure break-even bench break-even --budget 90s
measure paradigms bench paradigms
measure all bench all --export "json=$out/all.json"
"$brigade" report "$out/all.json" -o "$out/all.html"
