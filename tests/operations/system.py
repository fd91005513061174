"""The program under test: its processes, what they answer, and load."""

import contextlib
import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

import yaml
from servers import Server, eventually, free_ports

TTF = os.environ["TTF_TEST_BIN"]
#: Who send at the same time.
SENDERS = 4
MILESTONES = ["signup", "first_project_created", "first_agent_created", "first_workflow_created", "first_success"]


def run(*arguments: object, environment: dict[str, str] | None = None, seconds: float = 120) -> subprocess.CompletedProcess:
    return subprocess.run(
        [TTF, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env={"PATH": os.environ["PATH"], **(environment or {})},
    )


def get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.read().decode()


class Process:
    """One role."""

    def __init__(self, role: str, folder: Path, config: dict, environment: dict[str, str] | None = None):
        self.role, self.folder = role, folder
        folder.mkdir(parents=True, exist_ok=True)
        (self.admin,) = free_ports(1)
        service = {"service": {"admin_listen": f"127.0.0.1:{self.admin}", "log_format": "json", **config.get("service", {})}}
        self.config = folder / "telemetry.yaml"
        self.config.write_text(yaml.safe_dump({**config, **service}))
        self.server = Server(
            [TTF, role, "--config", self.config],
            folder / "log",
            cwd=folder,
            env={"PATH": os.environ["PATH"], **(environment or {})},
        )

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def get(self, path: str) -> str:
        return get(f"http://127.0.0.1:{self.admin}{path}")

    def is_ready(self) -> bool:
        assert self.server.process.poll() is None, f"{self.role} ended:\n{self.log[-3000:]}"
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/ready", timeout=5) as answer:
            return answer.status == 200

    def ready(self, seconds: float = 60):
        eventually(f"{self.role} is ready", seconds, self.is_ready)
        return self

    def restart(self):
        """As an orchestrator does it: asks it to end, and starts the next one when it has."""
        code = self.server.stop(signal.SIGTERM)
        assert code == 0, f"{self.role} ended with {code}:\n{self.log[-3000:]}"
        self.server.start()
        return self.ready()

    def stop(self, how=signal.SIGTERM):
        return self.server.stop(how)


class Load:
    """Users who go through all milestones, sent to gateways in turn; keeps what was answered."""

    def __init__(self, gateways: list[int]):
        self.gateways = list(gateways)
        #: Requests under way, by gateway.
        self.busy: dict[int, int] = {}
        self.accepted: set[str] = set()
        self.users: set[str] = set()
        #: Status -> how often; `503` only counts with `Retry-After`.
        self.answers: dict[str, int] = {}
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.failure: BaseException | None = None
        self.senders = [threading.Thread(target=self._run, daemon=True) for _ in range(SENDERS)]

    def __enter__(self):
        for sender in self.senders:
            sender.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for sender in self.senders:
            sender.join(60)
        assert self.failure is None, self.failure

    def _run(self):
        try:
            while not self.over.is_set():
                self.user(f"user-{uuid.uuid4().hex}")
        except BaseException as error:
            self.failure = error

    def _take(self) -> int:
        with self.lock:
            port = random.choice(self.gateways)
            self.busy[port] = self.busy.get(port, 0) + 1
            return port

    @contextlib.contextmanager
    def without(self, port: int):
        """Sends nothing to a gateway, as a balancer that heard of its end: Kubernetes tells it before the gateway is."""
        with self.lock:
            self.gateways.remove(port)
        eventually("no request is under way", 90, lambda: not self.busy.get(port))
        yield
        with self.lock:
            self.gateways.append(port)

    def user(self, user: str, milestones: slice = slice(None)):
        began = datetime.now(timezone.utc) - timedelta(minutes=30)
        events = [
            {
                "event_id": f"{user}-{name}",
                "event_name": name,
                "event_type": "track",
                "user_id": user,
                "timestamp": (began + timedelta(minutes=index * 2)).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            }
            for index, name in list(enumerate(MILESTONES))[milestones]
        ]
        for event in events:
            self._send(event)
        self.users.add(user)

    def _send(self, event: dict):
        """As a client with a load balancer in front, and again after 503."""
        body = json.dumps({"events": [event]})
        for _ in range(600):
            port = self._take()
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            try:
                connection.request("POST", "/api/v1/events", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                said = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self._count(f"broken: {type(error).__name__}")
                continue
            finally:
                connection.close()
                with self.lock:
                    self.busy[port] -= 1
            if 200 <= answer.status < 300:
                # Each event has an outcome of its own: what could not be written now says so.
                told = json.loads(said)
                if told["accepted"] + told["duplicate"] == 1:
                    self._count("2xx")
                    self.accepted.add(event["event_id"])
                    return
                self._count("2xx, not accepted")
            elif answer.status == 503 and answer.headers["Retry-After"]:
                self._count("503")
            else:
                self._count(str(answer.status))
            time.sleep(0.05)
        raise AssertionError(f"not accepted in the end: {self.answers}")

    def _count(self, what: str):
        with self.lock:
            self.answers[what] = self.answers.get(what, 0) + 1
