"""From exec to `/ready`: `ttf dev` on an empty folder, and on one that holds ten thousand journeys."""

from pathlib import Path

from ttfbench import memory, report
from ttfbench.process import dev

TIMES = 5


def run(binary: Path, folder: Path) -> int:
    load_before = report.load_average()
    empty = []
    for attempt in range(TIMES):
        empty.append(start_once(binary, folder / f"start-{attempt}"))
    filled = folder / "start-0"
    process = dev(binary, filled)
    try:
        process.wait_ready()
        memory.demo(binary, process.port)
    finally:
        process.stop()
    again = [start_once(binary, filled) for _ in range(TIMES)]
    numbers = {
        "starts": TIMES,
        "empty_median_seconds": round(report.percentile(empty, 0.5), 4),
        "empty_worst_seconds": round(max(empty), 4),
        "after_demo_median_seconds": round(report.percentile(again, 0.5), 4),
        "after_demo_worst_seconds": round(max(again), 4),
        "folder_after_demo_bytes": sum(file.stat().st_size for file in filled.rglob("*") if file.is_file()),
    } | report.binary_sizes(binary, folder)
    report.show("start", load_before, numbers)
    return 0


def start_once(binary: Path, folder: Path) -> float:
    process = dev(binary, folder)
    try:
        return process.wait_ready()
    finally:
        process.stop()
