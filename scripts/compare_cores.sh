#!/usr/bin/env bash
# How much more do more workers do? Runs one job on 1, 2, 4, ... workers, writes a CSV with
# a line for each count, and a page with the picture.
#
#   scripts/compare_cores.sh                              # blur, up to twice the cores
#   scripts/compare_cores.sh -k matmul -w 1,2,3,4,6,8 -o matmul
#
# Makes OUT.json, OUT.csv and OUT.html (default: cores.*).
set -euo pipefail

kernel=blur workers='' out=cores budget=60s backends=threads,processes
brigade=${BRIGADE:-brigade}
usage() {
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    echo "Options: -k KERNEL, -w COUNTS, -b BACKENDS, -t BUDGET, -o OUT; BRIGADE names the executable."
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
command -v "$brigade" > /dev/null || { echo "no \`$brigade\`; BRIGADE names it" >&2; exit 2; }

"$brigade" bench scaling --kernel "$kernel" ${workers:+--workers "$workers"} \
    --backends "$backends" --budget "$budget" --export csv="$out.csv" --export json="$out.json" > /dev/null
"$brigade" report "$out.json" -o "$out.html"
echo "$out.csv and $out.html"
