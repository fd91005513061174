#!/usr/bin/env bash
# Fuzzes every target in fuzz/ for a share of $FUZZ_SECONDS (60), from the committed corpus on.
#
#   scripts/fuzz.sh [TARGET…]
#
# cargo-fuzz and the build are kept in $TTF_CACHE_DIR: the first run takes one or two minutes more and 450 MB.
# Without a sanitizer: the workspace has no `unsafe` of its own, and so the stable compiler will do.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${TTF_CACHE_DIR:-$HOME/.cache/ttf}
version=0.13.2
say() { printf 'fuzz: %s\n' "$*" >&2; }

if [ "$("$cache/cargo-fuzz/bin/cargo-fuzz" --version 2>/dev/null)" != "cargo-fuzz $version" ]; then
  say "installing cargo-fuzz $version"
  cargo install --quiet --locked --root "$cache/cargo-fuzz" --version "$version" cargo-fuzz
fi
export PATH=$cache/cargo-fuzz/bin:$PATH

targets=("$@")
if [ ${#targets[@]} = 0 ]; then mapfile -t targets < <(cargo fuzz list); fi
seconds=$((${FUZZ_SECONDS:-60} / ${#targets[@]}))
options=(--sanitizer none --target-dir "$cache/fuzz")
cargo fuzz build "${options[@]}"

# What is found new stays out of the checkout; what fails is left in fuzz/artifacts.
found=$(mktemp -d "${TMPDIR:-/tmp}/ttf-fuzz-XXXXXX")
trap 'rm -rf "$found"' EXIT
for target in "${targets[@]}"; do
  mkdir -p "$found/$target"
  log=$found/$target.log
  say "$target for $seconds s"
  if ! cargo fuzz run "${options[@]}" "$target" "$found/$target" "fuzz/corpus/$target" \
    -- -max_total_time="$seconds" -max_len=40000 -rss_limit_mb=1024 -timeout=25 -print_final_stats=1 >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    say "$target failed; put the input in fuzz/artifacts/$target into fuzz/corpus/$target before mending it"
    exit 1
  fi
  sed -n 's/^stat::number_of_executed_units: */fuzz: inputs: /p' "$log" >&2
done
