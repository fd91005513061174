#!/usr/bin/env bash
# Installs and starts the real servers in a folder of their own, runs every suite against them, stops them.
set -euo pipefail
cd "$(dirname "$0")/.."
export TTF_CACHE_DIR=${TTF_CACHE_DIR:-$HOME/.cache/ttf}
TTF_SERVICES_DIR=$(mktemp -d "${TMPDIR:-/tmp}/ttf-test-XXXXXX")
export TTF_SERVICES_DIR
trap 'scripts/services/services.sh down' EXIT

# The program under test has its fail points, which cost nothing until a test names one; no release has them. Everything
# is built with the same features, or each command would build the other's half anew.
features=(--features ttf/failpoints)
# Compile first: a server that idles through a long build only takes memory from it.
cargo build --locked --workspace --bins "${features[@]}"
cargo test --locked --workspace "${features[@]}" --no-run
scripts/clients/install.sh
# A filter is one for the Rust suites. Before the servers start, whose threads it would only disturb.
if [ $# = 0 ]; then scripts/fuzz.sh; fi
scripts/services/services.sh up
# shellcheck disable=SC1091
. "$TTF_SERVICES_DIR/env"
TTF_TEST_BIN=$CARGO_TARGET_DIR/debug/ttf
export TTF_TEST_BIN
if [ $# = 0 ]; then
  mkdir "$TTF_SERVICES_DIR/suites"
  scripts/suites.py "$TTF_SERVICES_DIR/suites" "${features[@]}"
else
  # A filter is one for the Rust suites.
  cargo test --locked --workspace "${features[@]}" --no-fail-fast "$@"
fi
