"""What the checks of deploy/ share: the checkout, the program, and how a configuration is held against it."""

import contextlib
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

#: Stands for every secret: long enough for a key, and a valid SHA-256.
SECRET = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


#: Stands for those that are addresses.
URLS = {"redis-url": "redis://:secret@redis:6379", "database-url": "postgres://ttf:secret@postgres:5432/ttf"}


def required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set; run scripts/test-deploy.sh")
    return value


def free_ports(count: int) -> list[int]:
    """Different ones: a port that was let go may be the next one that is given."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="session")
def ttf() -> str:
    return required("TTF_TEST_BIN")


@pytest.fixture(scope="session")
def tools() -> Path:
    return Path(required("TTF_DEPLOY_TOOLS"))


@pytest.fixture
def validate(ttf, tmp_path):
    """Holds a configuration against the program, secrets that are files included; returns what it has to say."""

    def check(text: str, environment: dict[str, str]) -> str:
        secrets = tmp_path / "secrets"
        secrets.mkdir(exist_ok=True)

        def stand_in(found: re.Match) -> str:
            name = Path(found[1]).name
            (secrets / name).write_text(URLS.get(name, SECRET))
            return f"${{file:{secrets / Path(found[1]).name}}}"

        file = tmp_path / "telemetry.yaml"
        file.write_text(re.sub(r"\$\{file:([^}]+)\}", stand_in, text))
        run = subprocess.run(
            [ttf, "validate", "--config", str(file)],
            env={"PATH": os.environ["PATH"], **environment},
            capture_output=True,
            text=True,
            timeout=30,
        )
        return "" if run.returncode == 0 else run.stderr

    return check
