#!/usr/bin/env bash
# Runs fuzz targets under libFuzzer, for so many seconds each: fuzz/run.sh [SECONDS [TARGET...]]
# The stable tool chain will do: the instrumentation is a pass of LLVM. Needs a C++ compiler.
# What is found is in fuzz/artifacts; what is new is added to fuzz/target/corpus, not to corpus.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
shift $(($# > 0 ? 1 : 0))
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz_targets/*.rs; do targets+=("$(basename "$file" .rs)"); done
fi
coverage() { printf -- '-Cllvm-args=-sanitizer-coverage-%s ' "$@"; }
export RUSTFLAGS="-Cpasses=sancov-module --cfg fuzzing -Cdebug-assertions \
$(coverage level=4 inline-8bit-counters pc-table trace-compares)"
host=$(rustc -vV | sed -n 's/^host: //p')
# With --target the flags are not those of build scripts.
cargo build --release --quiet --target "$host"
built=${CARGO_TARGET_DIR:-target}
for target in "${targets[@]}"; do
    work=$built/corpus/$target
    mkdir -p "$work" artifacts
    echo "==> $target"
    "$built/$host/release/$target" "$work" "corpus/$target" -max_total_time="$seconds" \
        -max_len=65536 -timeout=20 -rss_limit_mb=3000 -print_final_stats=1 \
        -artifact_prefix="artifacts/$target-" 2>&1 |
        grep -E 'DONE|ERROR|SUMMARY|panicked|stat::number_of|stat::peak' || true
done
if [ -n "$(ls artifacts 2>/dev/null)" ]; then
    ls artifacts
    exit 1
fi
