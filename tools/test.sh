#!/bin/sh
# usage: tools/test.sh [--release | --debug | --asan | --tsan] [--quick]
# Builds xtape and runs its tests: those of the release preset, or of the one named. --quick leaves out the projects that
# use xtape as a package. Installs what is missing (as root, on Debian), and ends in the summary of ctest.
set -eu
cd "$(dirname "$0")/.."

preset=release
packages=clang-format
exclude=""
for argument in "$@"; do
    case "$argument" in
    --release | --debug | --asan) preset="${argument#--}" ;;
    --tsan) preset=tsan packages="$packages clang libomp-dev" ;;
    --quick) exclude="--label-exclude packaging" ;;
    *)
        sed -n '2,4s/^# //p' "$0" >&2
        exit 2
        ;;
    esac
done

# $packages and $exclude are lists of words.
# shellcheck disable=SC2086
tools/install_dependencies.sh $packages
if command -v clang-format-14 >/dev/null; then
    find engine nn optim models tests tools bench -name '*.[ch]pp' -exec clang-format-14 --dry-run --Werror {} +
else
    echo "clang-format-14 is not installed: formatting is not checked" >&2
fi
cmake --preset "$preset"
cmake --build --preset "$preset"
# shellcheck disable=SC2086
ctest --preset "$preset" --parallel "$(nproc)" $exclude
