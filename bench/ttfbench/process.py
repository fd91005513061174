"""A `ttf` process under measurement, read through /proc."""

import http.client
import os
import signal
import socket
import subprocess
import time
from collections import defaultdict
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def stat_fields(path: Path) -> list[str]:
    # The name in parentheses may hold anything; the fields after it are numbers.
    return path.read_text().rpartition(") ")[2].split()


def cpu_of_tree(root: int) -> float:
    """User and system seconds of a process, its living descendants, and those of them that have ended."""
    parents, used = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = stat_fields(entry / "stat")
        except OSError:
            continue
        parents[int(entry.name)] = int(fields[1])
        used[int(entry.name)] = sum(int(ticks) for ticks in fields[11:15]) / TICKS
    family = {root}
    while True:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        if not more:
            return sum(used.get(pid, 0.0) for pid in family)
        family |= more


class Process:
    """Started with an address of its own; everything it prints goes to a file."""

    def __init__(self, binary: Path, args: list[str], port: int, log: Path, env: dict[str, str] | None = None) -> None:
        self.host, self.port, self.log = "127.0.0.1", port, log
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TELEMETRY")}
        with log.open("ab") as out:
            self.began = time.perf_counter()
            self.child = subprocess.Popen(
                [binary, *args], stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment | (env or {})
            )

    @property
    def pid(self) -> int:
        return self.child.pid

    def wait_ready(self, seconds: float = 60.0) -> float:
        """Waits for `/ready`; returns the seconds since the process was started."""
        while True:
            if self.child.poll() is not None:
                raise RuntimeError(f"ttf ended with {self.child.returncode}:\n{self.log.read_text()[-2000:]}")
            try:
                if self.get("/ready")[0] == 200:
                    return time.perf_counter() - self.began
            except OSError:
                pass
            if time.perf_counter() - self.began > seconds:
                raise RuntimeError(f"ttf is not ready after {seconds} s:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.001)

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def metrics(self) -> str:
        return self.get("/metrics")[1].decode()

    def cpu_seconds(self) -> float:
        fields = stat_fields(Path(f"/proc/{self.pid}/stat"))
        return (int(fields[11]) + int(fields[12])) / TICKS

    def cpu_by_thread(self) -> dict[str, float]:
        """Seconds by the threads' names; those of threads that have ended are missing."""
        used: dict[str, float] = defaultdict(float)
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            try:
                name = (task / "comm").read_text().strip()
                fields = stat_fields(task / "stat")
            except OSError:
                continue
            used[name] += (int(fields[11]) + int(fields[12])) / TICKS
        return dict(used)

    def memory_bytes(self, field: str) -> int:
        """`VmRSS` (now) or `VmHWM` (the most so far)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"/proc has no {field}")

    def stop(self) -> None:
        """Ends it as an operator would, and insists on a clean end."""
        self.child.send_signal(signal.SIGTERM)
        try:
            code = self.child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise RuntimeError("ttf did not end within 60 s of SIGTERM") from None
        if code != 0:
            raise RuntimeError(f"ttf ended with {code}:\n{self.log.read_text()[-2000:]}")


def dev(binary: Path, folder: Path) -> Process:
    """`ttf dev` on a folder."""
    port = free_port()
    args = ["dev", "--listen", f"127.0.0.1:{port}", "--data-dir", str(folder)]
    return Process(binary, args, port, folder.with_name(f"{folder.name}.log"))
