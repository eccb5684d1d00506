#!/usr/bin/env bash
# Kills runs 50 times (or as often as the first argument says) at any time, also inside a write of a checkpoint and on a full disk, goes on
# with each, and compares weights, states and log with those of runs that were not. Needs root: it mounts a disk of 256 MiB in memory.
set -euo pipefail
cd "$(dirname "$0")/.."
disk=$(mktemp -d)
mount -t tmpfs -o size=256m tmpfs "$disk"
trap 'umount "$disk" && rmdir "$disk"' EXIT
SONEW_KILLS=${1:-50} SONEW_SMALL_DISK=$disk \
    cargo test --workspace --locked --test resume -- --nocapture kills::
