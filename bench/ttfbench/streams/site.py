"""Where a run takes place: its broker, its folder, the programs it uses, and how much it does."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

EVENTS = "telemetry.events.v1"


def whole_number(name: str, default: int) -> int:
    return int(os.environ.get(f"BENCH_STREAMS_{name}", default))


@dataclass(frozen=True)
class Site:
    """Everything a benchmark needs to know of its surroundings."""

    brokers: str
    folder: Path
    ttf: Path
    tool: Path
    peer: Path

    @classmethod
    def of_environment(cls) -> "Site":
        env = os.environ
        folder = Path(env["BENCH_STREAMS_DIR"])
        folder.mkdir(parents=True, exist_ok=True)
        return cls(
            env["TTF_TEST_KAFKA"],
            folder,
            Path(env["BENCH_BINARY"]),
            Path(env["BENCH_TOOL"]),
            Path(env["BENCH_PEER"]),
        )

    def call(self, *args: object) -> dict:
        """Runs `ttf-bench` and returns what it tells."""
        command = [str(self.tool), "--brokers", self.brokers, *map(str, args)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
        return json.loads(done.stdout)

    def empty(self, partitions: int) -> None:
        """Makes the topic of events anew."""
        self.call("reset", "--delete", EVENTS, "--create", EVENTS, "--partitions", partitions)

    def generate(self, users: int, events_per_user: float, **others: object) -> dict:
        """Adds the events of a cohort; see `ttf-bench generate --help` for what else can be said."""
        options = {"users": users, "events_per_user": events_per_user} | others
        flags = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
        return self.call("generate", *flags)

    def offsets(self, topic: str) -> int:
        return self.call("ends", "--topic", topic)["offsets"]

    def partitions(self) -> int:
        return self.call("ends", "--topic", EVENTS)["partitions"]


def disk_bytes(folder: Path) -> int:
    """What a folder takes on the disk; files may vanish while they are counted."""
    total = 0
    for file in folder.rglob("*"):
        try:
            stat = file.stat()
        except FileNotFoundError:
            continue
        if file.is_file():
            total += stat.st_blocks * 512
    return total
