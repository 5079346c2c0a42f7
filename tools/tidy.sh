#!/bin/sh
# usage: tools/tidy.sh [FILE...]
# Runs clang-tidy over the sources named (from the top of the tree), or over all of them: about forty minutes on two
# cores. Any finding is an error. Installs what is missing (as root, on Debian).
set -eu
cd "$(dirname "$0")/.."

case "${1-}" in
-*)
    sed -n '2,4s/^# //p' "$0" >&2
    exit 2
    ;;
esac

tools/install_dependencies.sh clang clang-tidy-14 libomp-dev
# Without batches each source shows that it includes what it uses.
cmake -S . -B build/tidy -G Ninja --log-level=WARNING -D CMAKE_BUILD_TYPE=Release -D CMAKE_C_COMPILER=clang \
    -D CMAKE_CXX_COMPILER=clang++
# The paths in the database have no spaces where the build has none.
# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(sed -n 's/^ *"file": "\(.*\.cpp\)".*/\1/p' build/tidy/compile_commands.json | sort -u)
# Standard error counts the warnings of others' headers, which nobody wants to see.
printf '%s\n' "$@" | xargs -n 1 -P "$(nproc)" clang-tidy-14 -p build/tidy --quiet --warnings-as-errors='*' \
    2>build/tidy/log || {
    grep -v ' warnings\{0,1\} generated\.$' build/tidy/log >&2
    exit 1
}
