"""Benchmarks of the `ttf` binary, with nothing but Python's standard library."""
