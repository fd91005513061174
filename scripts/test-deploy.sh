#!/usr/bin/env bash
# Checks deploy/ and docker-compose.yml: schemas, policies, configurations against `ttf validate`, alert rules against
# promtool, dashboards against a running `ttf dev`. No container engine and no cluster is needed. TTF_TEST_BIN names the
# program; it is built when it is not given. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
cache=${TTF_CACHE_DIR:-$HOME/.cache/ttf}
requirements=$root/deploy/tests/requirements.txt
venv=$cache/deploy-python tools=$cache/deploy-tools schemas=$cache/operator-schemas

scripts/venv.sh "$venv" "$requirements"

scripts/operator-tools.sh "$tools" "$venv"
scripts/operator-schemas.sh "$schemas"

if [ -z "${TTF_TEST_BIN:-}" ]; then
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
  cargo build --locked --bin ttf
  TTF_TEST_BIN=$CARGO_TARGET_DIR/debug/ttf
fi
export TTF_TEST_BIN TTF_DEPLOY_TOOLS=$tools TTF_OPERATOR_SCHEMAS=$schemas PATH=$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider "${@:-deploy/tests}"
