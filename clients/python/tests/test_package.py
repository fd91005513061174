"""What is published: wheel and sdist, installed into clean environments, typed, and without dependencies."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from telemetry import _version

from .conftest import ROOT

PACKAGE = ROOT / "clients/python"
USE = """
from telemetry.client import TelemetryClient
from telemetry import AsyncTelemetryClient, PrivacyPolicy, __version__
from telemetry.testing import capture
client = TelemetryClient(privacy=PrivacyPolicy(detectors={"email": "mask"}))
with capture() as events:
    client.track_ttf_milestone("first_project_created", user_id="user_123", properties={"m": "a@example.com"})
assert events[0]["properties"] == {"m": "***"}
import sys
assert not {name.split(".")[0] for name in sys.modules} & {"yaml", "requests", "confluent_kafka"}
print(__version__)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, an sdist, and a wheel made of the sdist, away from the repository."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(PACKAGE)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


@pytest.mark.parametrize("kind", ["*.whl", "*.tar.gz"])
def test_it_installs_into_a_clean_environment_and_works(kind: str, built: Path, tmp_path: Path) -> None:
    (file,) = built.glob(kind)
    site = tmp_path / "site"
    command = [
        sys.executable,
        "-m",
        "pip",
        "-q",
        "install",
        "--disable-pip-version-check",
        "--no-deps",
        "--target",
        str(site),
    ]
    if kind == "*.tar.gz":
        command.append("--no-build-isolation")
    subprocess.run([*command, str(file)], check=True, timeout=120)
    # -S: nothing of this environment is importable but what was installed.
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-S", "-c", USE],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.stdout.strip() == _version.VERSION


def test_the_wheel_is_typed_licensed_and_needs_nothing(built: Path) -> None:
    (file,) = built.glob("*.whl")
    with zipfile.ZipFile(file) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "telemetry/py.typed" in names
    assert any(name.endswith("LICENSE") for name in names)
    needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert needs == []
    assert "Name: ttf-telemetry" in metadata
    assert f"Version: {_version.VERSION}" in metadata
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as sdist:
        assert not [name for name in sdist.getnames() if "/tests/" in name or "node_modules" in name]


def test_type_checkers_refuse_a_milestone_that_is_none(tmp_path: Path) -> None:
    file = tmp_path / "use.py"
    file.write_text(
        "from telemetry import CustomMilestone, TelemetryClient\n"
        "client = TelemetryClient()\n"
        'client.track_ttf_milestone("first_project_created", user_id=1)\n'
        'client.track_ttf_milestone(CustomMilestone("mine"), user_id=1)\n'
        'client.track_ttf_milestone("frist_project_created", user_id=1)\n'
    )
    environment = {**os.environ, "MYPYPATH": str(PACKAGE / "src")}
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(file)]
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=120
    )
    assert 'use.py:5: error: Argument 1 to "track_ttf_milestone"' in done.stdout
    assert "Found 1 error" in done.stdout
