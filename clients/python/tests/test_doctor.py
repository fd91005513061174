"""`python -m telemetry doctor` tells what stands between an application and its gateway."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from telemetry import doctor
from telemetry.transport import Response

from .gateway import Gateway, free_port
from .stub import StubGateway


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {line["check"]: line["result"] for line in lines}


def test_all_is_well(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    before = len(gateway.tail("telemetry_doctor"))
    assert doctor.main(["doctor", "--url", gateway.url, "--json"]) == 0
    assert findings(capsys) == {"gateway": "ok", "clock": "ok", "key": "ok", "sample event": "ok"}
    assert len(gateway.tail("telemetry_doctor")) == before == 0, "it only asks"


def test_as_a_program_it_speaks_to_people(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "telemetry", "doctor", "--url", gateway.url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert "ok  gateway: healthy" in done.stdout


def test_a_gateway_that_is_away_is_named_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["doctor", "--url", f"http://127.0.0.1:{free_port()}"]) == 1
    printed = capsys.readouterr().out
    assert "failed" in printed
    assert "is it running?" in printed


def test_another_server_is_not_taken_for_a_gateway(stub: StubGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["doctor", "--url", stub.url]) == 1
    assert "not as a gateway does" in capsys.readouterr().out


def test_a_clock_that_is_off_is_a_warning() -> None:
    answer = Response(200, {"date": "Thu, 01 Jan 1970 01:00:00 GMT"}, b"")
    assert doctor._clock(answer, 3600.0).result == "ok"
    late = doctor._clock(answer, 7200.0)
    assert (late.result, "+36" in late.message) == ("warning", True)


def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["doctor", "--url", "nonsense"]) == 2
    assert "no address" in capsys.readouterr().err
