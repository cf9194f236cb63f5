#!/usr/bin/env bash
# How much more do more workers do? Runs one job on 1, 2, 4, ... workers and prints a table:
# wall time, speedup against plain code with its interval, efficiency, processor time, a bar,
# and what it comes to. OUT.csv has a row for each count and backend, OUT.html the picture.
#
#   scripts/compare_cores.sh                              # blur, up to twice the cores
#   scripts/compare_cores.sh -k matmul -w 1,2,3,4,6,8 -o matmul
#
# Makes OUT.json, OUT.csv and OUT.html (default: cores.*).
set -euo pipefail

kernel=blur workers='' out=cores budget=60s backends=threads,processes
usage() {
    sed -n '2,10s/^# \{0,1\}//p' "$0"
    echo "Options: -k KERNEL, -w COUNTS, -b BACKENDS, -t BUDGET, -o OUT; BRIGADE names the executable,"
    echo "which else is target/release/brigade beside this script, or brigade on PATH."
}
while getopts k:w:b:t:o:h option; do
    case $option in
        k) kernel=$OPTARG ;;
        w) workers=$OPTARG ;;
        b) backends=$OPTARG ;;
        t) budget=$OPTARG ;;
        o) out=$OPTARG ;;
        h) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
built=$(dirname "$0")/../target/release/brigade
[ -x "$built" ] || built=brigade
brigade=${BRIGADE:-$built}
command -v "$brigade" > /dev/null || {
    echo "no \`$brigade\`: build it (cargo build --release), or name it (BRIGADE=...)" >&2
    exit 2
}

"$brigade" bench scaling --kernel "$kernel" ${workers:+--workers "$workers"} --mode strong \
    --backends "$backends" --budget "$budget" --output "$out.json" --export csv-wide="$out.csv"
"$brigade" report "$out.json" -o "$out.html"
echo "$out.csv and $out.html"
