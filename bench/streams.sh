#!/usr/bin/env bash
# Benchmarks of the stream processor (`ttf processor`) next to the same topology on Kafka Streams.
#
#   bench/streams.sh [PART…]     validate throughput latency restore growth (default: all); the last line is JSON
#
# One by one, on a broker that stays up (for a profiler, or to try a change):
#   bench/streams.sh prepare     start a broker and fill it with events
#   bench/streams.sh ours        run `ttf processor` over them, from nothing; again and again
#   bench/streams.sh peer        the same with Kafka Streams
#   bench/streams.sh floor       only read and decode them
#   bench/streams.sh down        stop the broker, delete everything
#
# BENCH_BINARY, BENCH_TOOL, BENCH_PEER: built already (release `ttf`, release `ttf-bench`, the peer's target folder).
# BENCH_STREAMS_DIR: where everything is kept meanwhile. BENCH_STREAMS_…: how much; see bench/README.md.
set -euo pipefail
cd "$(dirname "$0")/.."
export TTF_CACHE_DIR=${TTF_CACHE_DIR:-$HOME/.cache/ttf}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$TTF_CACHE_DIR/target}
export BENCH_STREAMS_DIR=${BENCH_STREAMS_DIR:-${TMPDIR:-/tmp}/ttf-bench-streams-$(id -un)}
export TTF_SERVICES_DIR=$BENCH_STREAMS_DIR/services

down() {
  if [ -e "$TTF_SERVICES_DIR" ]; then scripts/services/services.sh down; fi
  rm -rf "$BENCH_STREAMS_DIR"
}

case ${1:-} in
  down) down; exit ;;
  -h | --help | help) sed -n '2,17p' "$0"; exit ;;
esac

if [ -z "${BENCH_BINARY:-}" ] || [ -z "${BENCH_TOOL:-}" ]; then
  cargo build --release --locked -p ttf -p ttf-bench
fi
export BENCH_BINARY=${BENCH_BINARY:-$CARGO_TARGET_DIR/release/ttf}
export BENCH_TOOL=${BENCH_TOOL:-$CARGO_TARGET_DIR/release/ttf-bench}
if [ -z "${BENCH_PEER:-}" ]; then
  export BENCH_PEER=$TTF_CACHE_DIR/peers/kafka-streams
  case ${1:-} in
    prepare | ours | floor) ;;
    *) bench/peers/kafka-streams/build.sh "$BENCH_PEER" ;;
  esac
fi

case ${1:-} in
  prepare | ours | peer | floor) ;;
  *) if [ ! -e "$TTF_SERVICES_DIR/env" ]; then trap down EXIT; fi ;;
esac
mkdir -p "$BENCH_STREAMS_DIR"
chmod 755 "$BENCH_STREAMS_DIR"
if [ ! -e "$TTF_SERVICES_DIR/env" ]; then scripts/services/services.sh up kafka; fi
# shellcheck disable=SC1091
. "$TTF_SERVICES_DIR/env"
PYTHONPATH=bench PYTHONDONTWRITEBYTECODE=1 python3 -m ttfbench.streams "$@"
