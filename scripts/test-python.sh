#!/usr/bin/env bash
# The Python client's suites, against the real gateway (TTF_TEST_BIN, built when it is not given) and, for the extra
# `kafka`, a real broker (TTF_TEST_KAFKA). Arguments go to pytest.
#
#   scripts/test-python.sh            everything
#   scripts/test-python.sh lint       types, lints, format, generated code
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
cache=${TTF_CACHE_DIR:-$HOME/.cache/ttf}
requirements=$root/clients/python/requirements-test.txt
venv=$cache/python-client

scripts/venv.sh "$venv" "$requirements"

cd clients/python
export PYTHONDONTWRITEBYTECODE=1
if [ "${1:-}" = lint ]; then
  "$venv/bin/ruff" format --check -q .
  "$venv/bin/ruff" check -q .
  "$venv/bin/mypy" --cache-dir "$cache/mypy"
  "$venv/bin/python" tools/generate.py --check
  exit
fi

if [ -z "${TTF_TEST_BIN:-}" ]; then
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
  (cd "$root" && cargo build --locked --bin ttf)
  TTF_TEST_BIN=$CARGO_TARGET_DIR/debug/ttf
fi
export TTF_TEST_BIN PYTHONPATH=$root/clients/python/src
exec "$venv/bin/python" -m pytest -p telemetry.pytest_plugin "$@"
