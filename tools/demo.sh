#!/bin/sh
# usage: tools/demo.sh
# Trains microgpt on the built-in names, audits its gradients against the hand-written backward pass, and makes 20 new
# names. Installs what is missing (as root, on Debian).
set -eu
cd "$(dirname "$0")/.."

tools/install_dependencies.sh
cmake --preset release
cmake --build --preset release --target xtape_command
xtape=build/release/bin/xtape

$xtape train microgpt --overwrite
$xtape audit microgpt
$xtape generate runs/microgpt --samples 20
