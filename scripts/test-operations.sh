#!/usr/bin/env bash
# Operates it on real servers: TLS and passwords everywhere, `ttf doctor` with each thing broken in turn, rolling restarts
# under load, the loss of each component, and every alert provoked with its runbook followed. Starts the servers it breaks by itself; needs the addresses of the others
# (TTF_TEST_*: scripts/services/services.sh up registry postgres s3). TTF_TEST_BIN names the program; it is built when
# it is not given. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${TTF_CACHE_DIR:-$HOME/.cache/ttf}
venv=$cache/operations-python
scripts/venv.sh "$venv" tests/operations/requirements.txt
tools=$cache/deploy-tools
scripts/operator-tools.sh "$tools" "$venv"

if [ -z "${TTF_TEST_BIN:-}" ]; then
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
  cargo build --locked --bin ttf
  TTF_TEST_BIN=$CARGO_TARGET_DIR/debug/ttf
fi
export TTF_TEST_BIN TTF_DEPLOY_TOOLS=$tools PYTHONDONTWRITEBYTECODE=1
if [ $# = 0 ]; then set -- tests/operations; fi
exec "$venv/bin/python" -m pytest -q --tb=short -p no:cacheprovider --rootdir tests/operations "$@"
