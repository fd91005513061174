"""How results are shown: a table for people, then one line of JSON with the same numbers."""

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from pathlib import Path


def load_average() -> float:
    """Of the last minute."""
    return round(os.getloadavg()[0], 2)


def binary_sizes(binary: Path, folder: Path) -> dict[str, int]:
    stripped = folder / "ttf.stripped"
    subprocess.run(["strip", "-o", stripped, binary], check=True)
    sizes = {"binary_bytes": binary.stat().st_size, "binary_stripped_bytes": stripped.stat().st_size}
    stripped.unlink()
    return sizes


def percentile(values: list[float], q: float) -> float:
    """The value that the share `q` of all values does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(q * len(ranked)))]


def show(name: str, load_before: float, numbers: dict) -> None:
    machine = {
        "benchmark": name,
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "load_average_before": load_before,
    }
    rows = [(key, text(value)) for key, value in (machine | numbers).items() if not isinstance(value, dict)]
    for key, value in numbers.items():
        if isinstance(value, dict):
            rows += [(f"{key}: {inner}", text(number)) for inner, number in value.items()]
    width = max(len(key) for key, _ in rows)
    print(f"\n{name}")
    for key, value in rows:
        print(f"  {key:<{width}}  {value}")
    print(json.dumps(machine | numbers), flush=True)


def text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)
