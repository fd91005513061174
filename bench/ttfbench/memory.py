"""How much memory `ttf dev` takes, idle and after ten thousand journeys."""

import subprocess
import time
from pathlib import Path

from ttfbench import report
from ttfbench.process import dev

IDLE_SECONDS = 10
USERS = 10_000


def run(binary: Path, folder: Path) -> int:
    load_before = report.load_average()
    process = dev(binary, folder / "memory")
    try:
        process.wait_ready()
        time.sleep(IDLE_SECONDS)
        idle, idle_peak = process.memory_bytes("VmRSS"), process.memory_bytes("VmHWM")
        cpu = process.cpu_seconds()
        time.sleep(IDLE_SECONDS)
        idle_cpu = (process.cpu_seconds() - cpu) / IDLE_SECONDS
        demo_seconds, printed = demo(binary, process.port)
        after, peak = process.memory_bytes("VmRSS"), process.memory_bytes("VmHWM")
        time.sleep(IDLE_SECONDS)
        settled = process.memory_bytes("VmRSS")
    finally:
        process.stop()
    if "not every event" in printed:
        raise RuntimeError(f"the demo did not end well:\n{printed}")
    numbers = {
        "rss_idle_bytes": idle,
        "rss_peak_until_idle_bytes": idle_peak,
        "idle_cpu_share_of_a_core": round(idle_cpu, 4),
        "demo_users": USERS,
        "demo_seconds": round(demo_seconds, 2),
        "rss_after_demo_bytes": after,
        "rss_peak_bytes": peak,
        f"rss_{IDLE_SECONDS}_seconds_later_bytes": settled,
    }
    report.show("memory", load_before, numbers)
    return 0


def demo(binary: Path, port: int) -> tuple[float, str]:
    began = time.monotonic()
    done = subprocess.run(
        [binary, "demo", "--users", str(USERS), "--hours", "8", "--speed-up", "100000"]
        + ["--url", f"http://127.0.0.1:{port}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return time.monotonic() - began, done.stdout
