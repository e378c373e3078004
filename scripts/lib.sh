# shellcheck shell=bash
# Shared by the scripts in this folder: where the tree is, how they speak, how many jobs they run.
# Source it after `set -euo pipefail`.

SHOAL_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SHOAL_JOBS=${SHOAL_JOBS:-$(nproc)}
export SHOAL_ROOT SHOAL_JOBS

# Progress, one plain line; results go to standard output, so this does not.
say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# The comment block at the top of the calling script is its help text.
show_help() { sed -n '2,/^[^#]/{/^#/!d;s/^# \{0,1\}//;p}' "$0"; }
