#!/usr/bin/env bash
# What the README promises first: a fleet on loopback with TLS, a real model, every file compared.
set -euo pipefail
exec "$(dirname "$0")/../../scripts/quickstart" --no-install
