"""Reads what `/metrics` shows."""

import re

SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')


def samples(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    found = []
    for line in text.splitlines():
        if line.startswith(name) and (match := SAMPLE.match(line)) and match[1] == name:
            found.append((dict(LABEL.findall(match[2] or "")), float(match[3])))
    return found


def total(text: str, name: str, **labels: str) -> float:
    return sum(value for at, value in samples(text, name) if labels.items() <= at.items())


def buckets(text: str, name: str) -> dict[float, float]:
    """Upper bound → observations up to it."""
    return {float(at["le"]): value for at, value in samples(text, f"{name}_bucket")}


def quantile(before: dict[float, float], after: dict[float, float], q: float) -> float:
    """Of what was observed in between, interpolated within its bucket as Prometheus does."""
    counts = {le: after[le] - before.get(le, 0.0) for le in sorted(after)}
    rank = q * counts[float("inf")]
    lower, below = 0.0, 0.0
    for le, count in counts.items():
        if count >= rank:
            if le == float("inf"):
                return lower
            return lower + (le - lower) * (rank - below) / max(count - below, 1.0)
        lower, below = le, count
    return lower
