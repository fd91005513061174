#!/usr/bin/env bash
# Runs the benchmarks on a release build and prints, for each, a table and one line of JSON.
#
#   bench/run.sh                      all of them
#   bench/run.sh pipe embedded        the whole pipe of `ttf dev`
#   bench/run.sh pipe kafka           the whole pipe of `ttf all` on real servers, which it starts and stops
#   bench/run.sh gateway              the gateway next to a server that publishes bodies as they are
#   bench/run.sh memory | start       memory; cold start
#   bench/run.sh database             events into PostgreSQL next to a bare bulk write (BENCH_EVENTS, BENCH_RATE, BENCH_STEADY_SECONDS)
#   bench/run.sh archive              events into Parquet next to a bare writer; erasing one user of many (BENCH_EVENTS, BENCH_USERS)
#   bench/run.sh alerter              breach to request at a receiver, memory of open alerts (BENCH_BREACHES_PER_SECOND, BENCH_STEADY_SECONDS, BENCH_OPEN_ALERTS)
#   bench/run.sh client               the Python client next to those of PostHog and Segment (needs no build)
#
# BENCH_EVENTS (200000), BENCH_USERS (20000), BENCH_CONNECTIONS (4), BENCH_STEADY_SECONDS (20): how much.
# BENCH_GATEWAY_…: how much of the gateway; see bench/README.md.
# BENCH_BINARY, BENCH_TOOL: built already (release `ttf`; `ttf-bench`, for the gateway alone).
set -euo pipefail
cd "$(dirname "$0")/.."
export TTF_CACHE_DIR=${TTF_CACHE_DIR:-$HOME/.cache/ttf}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$TTF_CACHE_DIR/target}

if [ "${1:-}" = client ]; then
  peers=$TTF_CACHE_DIR/peers/python
  wanted='posthog==7.91.1 segment-analytics-python==2.4.0'
  if [ "$(cat "$peers/.wanted" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$peers"
    python3 -m venv "$peers"
    # shellcheck disable=SC2086
    "$peers/bin/pip" -q install --disable-pip-version-check $wanted
    printf %s "$wanted" > "$peers/.wanted"
  fi
  exec "$peers/bin/python" bench/client.py "${@:2}"
fi

# An example of the archiver's, on a PostgreSQL of its own.
archiver_on_postgres() {
  local example=$1
  shift
  cargo build --release --locked -p sink-archiver --example "$example"
  folder=$(mktemp -d "${TMPDIR:-/tmp}/ttf-bench-XXXXXX")
  chmod 755 "$folder"
  export TTF_SERVICES_DIR=$folder/services
  trap 'scripts/services/services.sh down; rm -rf "$folder"' EXIT
  # shellcheck disable=SC2086
  scripts/services/services.sh up postgres ${servers:-}
  # shellcheck disable=SC1091
  . "$TTF_SERVICES_DIR/env"
  "$CARGO_TARGET_DIR/release/examples/$example" "$@"
}

case ${1:-} in
  database)
    servers=kafka archiver_on_postgres database_speed "${BENCH_EVENTS:-200000}" "${BENCH_RATE:-2000}" "${BENCH_STEADY_SECONDS:-20}"
    exit ;;
  archive)
    archiver_on_postgres archive_speed "${BENCH_EVENTS:-200000}" "${BENCH_USERS:-1000000}"
    exit ;;
esac

if [ "${1:-}" = alerter ]; then
  cargo build --release --locked -p alerter --example alerter_speed
  exec "$CARGO_TARGET_DIR/release/examples/alerter_speed" "${BENCH_BREACHES_PER_SECOND:-100}" "${BENCH_STEADY_SECONDS:-20}" "${BENCH_OPEN_ALERTS:-100000}"
fi

wanted=()
case "${1:-all} ${2:-}" in
  'all ') wanted=('start' 'memory' 'pipe embedded' 'pipe kafka' 'gateway') ;;
  'pipe ') wanted=('pipe embedded' 'pipe kafka') ;;
  'pipe embedded' | 'pipe kafka' | 'memory ' | 'start ' | 'gateway ') wanted=("$(echo $*)") ;;
  *) sed -n '2,15p' "$0"; exit 64 ;;
esac

if [ -z "${BENCH_BINARY:-}" ]; then
  cargo build --release --bin ttf --locked
  BENCH_BINARY=$CARGO_TARGET_DIR/release/ttf
fi

BENCH_TOOL=${BENCH_TOOL:-}
if [ -z "$BENCH_TOOL" ] && [[ " ${wanted[*]} " = *' gateway '* ]]; then
  cargo build --release --locked -p ttf-bench
  BENCH_TOOL=$CARGO_TARGET_DIR/release/ttf-bench
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/ttf-bench-XXXXXX")
export TTF_SERVICES_DIR=$folder/services
finish() {
  if [ -e "$TTF_SERVICES_DIR" ]; then scripts/services/services.sh down; fi
  rm -rf "$folder"
}
trap finish EXIT

for name in "${wanted[@]}"; do
  case $name in
    'pipe kafka') servers='kafka registry postgres redis s3' ;;
    gateway) servers=kafka ;;
    *) servers= ;;
  esac
  if [ -n "$servers" ]; then
    # A folder another user may enter: PostgreSQL does not run as root.
    chmod 755 "$folder"
    # A port that was free a moment ago may be taken by now; those that are up stay up.
    for attempt in 1 2 3; do
      # shellcheck disable=SC2086
      if scripts/services/services.sh up $servers; then break; fi
      if [ $attempt = 3 ]; then exit 1; fi
    done
    # shellcheck disable=SC1091
    . "$TTF_SERVICES_DIR/env"
  fi
  # shellcheck disable=SC2086
  PYTHONPATH=bench PYTHONDONTWRITEBYTECODE=1 python3 -m ttfbench --binary "$BENCH_BINARY" --tool "$BENCH_TOOL" --folder "$folder" $name
  # What others leave running would take part in the next one.
  if [ -e "$TTF_SERVICES_DIR" ]; then scripts/services/services.sh down; rm -rf "$TTF_SERVICES_DIR"; fi
done
