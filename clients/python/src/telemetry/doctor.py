"""`python -m telemetry doctor`: is everything in place for events to arrive?"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Optional

from ._version import VERSION
from .config import Options, load
from .errors import ConfigurationError
from .identity import EventIds, rfc3339
from .plain import to_bytes
from .transport import HttpTransport, Response, describe

#: A clock may be off by so many seconds before the gateway corrects timestamps (`gateway.max_skew`).
_MAX_SKEW = 300.0


@dataclass(frozen=True)
class Finding:
    """The result of one check: `ok`, `warning` or `failed`."""

    check: str
    result: str
    message: str
    hint: Optional[str] = None


def examine(options: Options) -> Iterator[Finding]:
    """Checks one after the other; ends where going on makes no sense."""
    if options.url.startswith("kafka://"):
        yield Finding("gateway", "failed", "the doctor looks at gateways only, not at Kafka")
        return
    transport = HttpTransport(options.url, options.api_key, user_agent=f"ttf-telemetry-doctor/{VERSION}")
    try:
        sent = time.time()
        started = time.perf_counter()
        answer = transport.request("GET", "/health", None, {}, options.timeout)
        took = time.perf_counter() - started
    except (OSError, http.client.HTTPException) as error:
        hint = "is it running? TELEMETRY_URL or url= says where; `ttf dev` starts one on http://localhost:8080"
        yield Finding("gateway", "failed", f"no answer from {options.url}: {describe(error)}", hint)
        return
    health = _json(answer)
    if "status" not in health:
        hint = "another server or a proxy may be on this address"
        yield Finding("gateway", "failed", f"{options.url} answers {answer.status}, but not as a gateway does", hint)
        return
    version = f" {health['version']}" if isinstance(health.get("version"), str) else ""
    is_well = health["status"] == "healthy"
    yield Finding("gateway", "ok" if is_well else "warning", f"{health['status']}{version}, {took * 1000:.0f} ms away")
    yield _clock(answer, sent + took / 2)
    yield from _sample(transport, options)
    transport.close()


def _clock(answer: Response, now: float) -> Finding:
    try:
        # A date is cut to the second.
        skew = now - (parsedate_to_datetime(answer.headers["date"]).timestamp() + 0.5)
    except (KeyError, TypeError, ValueError):
        return Finding("clock", "warning", "the gateway does not tell its time")
    if abs(skew) > _MAX_SKEW:
        hint = "set the clock (NTP); until then the gateway corrects timestamps by it"
        return Finding("clock", "warning", f"this clock is {skew:+.0f} s off the gateway's", hint)
    return Finding("clock", "ok", f"within {max(1.0, abs(skew)):.0f} s of the gateway's")


def _sample(transport: HttpTransport, options: Options) -> Iterator[Finding]:
    event = {
        "event_id": EventIds().new(time.time_ns()),
        "event_name": "telemetry_doctor",
        "event_type": "track",
        "timestamp": rfc3339(time.time_ns()),
        "user_id": "telemetry_doctor",
        "context": {"library": {"name": "ttf-telemetry-python", "version": VERSION}},
    }
    body = b'{"sent_at":"%s","events":[%s]}' % (rfc3339(time.time_ns()).encode(), to_bytes(event))
    headers = {"Content-Type": "application/json"}
    try:
        answer = transport.request("POST", "/api/v1/events?validate_only=1", body, headers, options.timeout)
    except (OSError, http.client.HTTPException) as error:
        yield Finding("sample event", "failed", f"no answer: {describe(error)}")
        return
    said = _json(answer)
    words = f"{answer.status} {said.get('code', '')}: {said.get('message', '')}".strip(": ")
    hint = said.get("hint") if isinstance(said.get("hint"), str) else None
    if answer.status in (401, 403):
        missing = "set TELEMETRY_API_KEY or api_key=" if not options.api_key else hint
        yield Finding("key", "failed", words, missing)
    elif answer.status == 202:
        yield Finding("key", "ok", "taken" if options.api_key else "none, and none is needed")
        yield Finding("sample event", "ok", "valid (checked only, nothing was stored)")
    else:
        yield Finding("sample event", "failed", words, hint)


def _json(answer: Response) -> dict[str, Any]:
    try:
        value = json.loads(answer.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """The command line. Exit code 0: events will arrive (there may be warnings); 1: they will not; 2: wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m telemetry", description="Product telemetry for TTF.")
    parser.add_argument("--version", action="version", version=VERSION)
    commands = parser.add_subparsers(dest="command", required=True)
    doctor = commands.add_parser("doctor", help="check that events will arrive: gateway, clock, key, a sample event")
    doctor.add_argument("--url", help="where the gateway is (default: TELEMETRY_URL, else http://localhost:8080)")
    doctor.add_argument("--timeout", type=float, default=None, help="seconds for each request (default: 10)")
    doctor.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args(arguments)
    try:
        findings = []
        # The key comes from the environment or the file: on a command line, everybody on the machine could read it.
        for finding in examine(load({"url": given.url, "timeout": given.timeout})):
            findings.append(finding)
            _print(finding, given.json)
    except ConfigurationError as error:
        print(f"telemetry: {error}", file=sys.stderr)
        return 2
    return int(any(finding.result == "failed" for finding in findings))


def _print(finding: Finding, as_json: bool) -> None:
    if as_json:
        print(json.dumps(asdict(finding)))
        return
    print(f"{finding.result:>7}  {finding.check}: {finding.message}")
    if finding.hint:
        print(f"         {finding.hint}")
