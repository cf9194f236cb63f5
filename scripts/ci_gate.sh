#!/usr/bin/env bash
# Did this change make it slower? `brigade gate` with its arguments, for a CI that must not take
# something else for an answer: GATE_BRIGADE names Brigade (default: on PATH, or target/release).
#
#   scripts/ci_gate.sh origin/main HEAD --budget 60s --export github=-
set -euo pipefail
refuse() { echo "error: $1" >&2; exit "${2:-2}"; }
for old in $(compgen -v GATE_ | grep -vx GATE_BRIGADE || true); do
    refuse "$old has no effect any more: brigade-gate.toml and options say it (brigade gate --help)"
done
brigade=${GATE_BRIGADE:-$(command -v brigade || echo "$(dirname "$0")/../target/release/brigade")}
version=$("$brigade" --version 2> /dev/null < /dev/null) || version=
[[ $version == brigade\ [0-9]* ]] || refuse "$brigade is not Brigade; GATE_BRIGADE names the one that compares"
result=$(mktemp)
trap 'rm -f "$result"' EXIT
code=0
"$brigade" gate "$@" --export json="$result" || code=$?
[ "$code" != 0 ] || grep -qs '"schema": *"brigade.compare.v1"' "$result" || refuse "nothing was compared" 1
exit "$code"
