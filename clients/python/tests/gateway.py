"""The real gateway: `ttf dev` in a folder of its own."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, Optional

import pytest

from .waiting import until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gateway:
    """Started on entering, ended by its process id on leaving."""

    def __init__(self, folder: Path) -> None:
        binary = os.environ.get("TTF_TEST_BIN", "")
        if not Path(binary).is_file():
            pytest.fail(
                "TTF_TEST_BIN must name a built `ttf` (cargo build --bin ttf; scripts/test-python.sh does both)"
            )
        self.binary, self.folder = binary, folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Gateway:
        self._log = (self.folder / "log").open("wb")
        self._process = subprocess.Popen(
            [self.binary, "dev", "--listen", f"127.0.0.1:{self.port}", "--data-dir", str(self.folder / "data")],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        until(self._is_ready, f"the gateway is not ready; see {self.folder}/log", timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _is_ready(self) -> bool:
        assert self._process.poll() is None, f"the gateway ended; see {self.folder}/log"
        try:
            with urllib.request.urlopen(f"{self.url}/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def rows(self, prefix: str) -> Counter[str]:
        """Event ids in the database, of users whose id starts so, each with how often it is there."""
        path = self.folder / "data" / "ttf.sqlite"
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            found = database.execute("SELECT event_id FROM events WHERE user_id GLOB ?", (f"{prefix}*",))
            return Counter(row[0] for row in found)
        finally:
            database.close()

    def delivered(self, prefix: str, count: int, timeout: float = 30.0) -> Counter[str]:
        """The event ids once `count` different ones are in the database."""

        def enough() -> Optional[Counter[str]]:
            rows = self.rows(prefix)
            return rows if len(rows) >= count else None

        return until(enough, lambda: f"{count} events of {prefix}, not {len(self.rows(prefix))}", timeout)

    def tail(self, prefix: str) -> list[dict[str, Any]]:
        """Events of users whose id starts so, as they are on the log."""
        command = [self.binary, "tail", "events", "--json", "--from", "beginning", "--no-follow", "--url", self.url]
        lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
        events = [json.loads(line) for line in lines]
        return [event for event in events if (event.get("user_id") or "").startswith(prefix)]
