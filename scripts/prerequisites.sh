#!/usr/bin/env bash
# What a build needs besides git and make: a Rust toolchain, a C compiler and OpenSSL's headers. Installs the compiler where it can.
set -euo pipefail
want=1.90

if ! command -v cargo >/dev/null; then
  echo "ttf: no Rust toolchain found; install one (https://rustup.rs), version $want or newer" >&2
  exit 1
fi
have=$(rustc --version | awk '{print $2}')
if [ "$(printf '%s\n%s\n' "$want" "$have" | sort -V | head -n 1)" != "$want" ]; then
  echo "ttf: Rust $have is too old; run \`rustup update stable\` for $want or newer" >&2
  exit 1
fi
missing=()
command -v cc >/dev/null || missing+=(build-essential)
command -v c++ >/dev/null || missing+=(g++)
command -v curl >/dev/null || missing+=(curl)
# librdkafka speaks TLS by OpenSSL.
command -v pkg-config >/dev/null || missing+=(pkg-config)
[ -e /usr/include/openssl/ssl.h ] || pkg-config --exists openssl 2>/dev/null || missing+=(libssl-dev)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "ttf: installing ${missing[*]}" >&2
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
  else
    echo "ttf: please install: sudo apt-get install ${missing[*]}" >&2
    exit 1
  fi
fi
