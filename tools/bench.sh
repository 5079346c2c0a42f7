#!/bin/sh
# usage: tools/bench.sh [OPTION OF GOOGLE BENCHMARK...]
# Builds the benchmarks, runs each, and prints the table of ratios to the peers: hand-written C, and PyTorch where
# libtorch-dev is installed. Installs what is missing (as root, on Debian).
set -eu
cd "$(dirname "$0")/.."

tools/install_dependencies.sh
cmake --preset release -D XTAPE_TORCH=ON
cmake --build --preset release

# OpenBLAS, on which PyTorch stands, does not know the newest processors and runs its AVX2 kernels there.
if grep -q avx512vl /proc/cpuinfo; then
    export OPENBLAS_CORETYPE="${OPENBLAS_CORETYPE:-SkylakeX}"
fi

echo "== the peers do the same work"
build/release/bin/bench_peers_check

for program in build/release/bin/bench_*; do
    case "$program" in
    */bench_table | */bench_peers_check | *'*') continue ;;
    esac
    echo "== ${program##*/}"
    "$program" --benchmark_repetitions=5 --benchmark_report_aggregates_only=true "$@"
done
if [ -x build/release/bin/bench_table ]; then
    echo "== ratios"
    build/release/bin/bench_table
fi
