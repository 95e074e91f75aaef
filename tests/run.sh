#!/usr/bin/env bash
# Installs what tests need and that is missing: the toolchains of all languages, Chromium to open reports in, and readers
# of exported files in a virtual environment outside the repository. Then runs all tests. They leave the user's cache alone.
set -euo pipefail
export AUTOCODEGEN_CACHE=off
export AUTOCODEGEN_READERS="${AUTOCODEGEN_READERS:-$HOME/.cache/autocodegen-readers}"
cd "$(dirname "$0")/.."
cargo build --quiet
"${CARGO_TARGET_DIR:-target}/debug/autocodegen" doctor --install
if ! command -v chromium chromium-browser google-chrome >/dev/null; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends chromium
fi
if ! "$AUTOCODEGEN_READERS/bin/python3" -c 'import datasets, duckdb, pyarrow' 2>/dev/null; then
    python3 -m venv "$AUTOCODEGEN_READERS"
    "$AUTOCODEGEN_READERS/bin/pip" install --quiet datasets duckdb pyarrow
fi
exec cargo test
