#!/usr/bin/env bash
# Installs the toolchains that tests need and that are missing, then runs all tests. They leave the user's cache alone.
set -euo pipefail
export AUTOCODEGEN_CACHE=off
cd "$(dirname "$0")/.."
cargo build --quiet
"${CARGO_TARGET_DIR:-target}/debug/autocodegen" doctor --install
exec cargo test
