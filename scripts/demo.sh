#!/usr/bin/env bash
# Builds Brigade and runs its main job on synthetic 1080p images, on threads and in
# worker processes. Usage: scripts/demo.sh [JOBS]
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --locked
for backend in threads processes; do
    echo
    "${CARGO_TARGET_DIR:-target}/release/brigade" run blur --jobs "${1:-40}" --backend "$backend"
done
