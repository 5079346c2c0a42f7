#!/bin/sh
# usage: tools/install_dependencies.sh [PACKAGE...]
# Installs what building xtape needs, and the packages named, with apt; does nothing where all is there.
set -eu

missing=""
for package in \
    g++ cmake ninja-build libxtensor-dev libxsimd-dev libdnnl-dev libfmt-dev libcli11-dev nlohmann-json3-dev \
    catch2 librapidcheck-dev libbenchmark-dev "$@"; do
    case "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)" in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "This system has no apt: make sure that what these Debian packages hold is installed:$missing" >&2
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "These packages are missing. As root, run: apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
echo "Installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# $missing is a list of words.
# shellcheck disable=SC2086
if ! log=$(apt-get install -qq --no-install-recommends $missing 2>&1); then
    echo "$log" >&2
    exit 1
fi
