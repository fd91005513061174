"""Frameworks: requests and tasks become performance and error events under their routes, never their paths."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from telemetry import TelemetryClient
from telemetry.testing import CapturedEvents

from .conftest import ROOT


def summary(events: CapturedEvents) -> list[tuple[str, object, object]]:
    return [
        (event["event_type"], event["properties"]["operation"], event["properties"].get("http_status"))
        for event in events
    ]


WANTED = [
    ("performance", "GET /users/<id>", 200),
    ("performance", "GET (no route)", 404),
    ("error", "GET /fails", None),
    ("performance", "GET /fails", 500),
]


def test_flask(telemetry_events: CapturedEvents) -> None:
    from flask import Flask

    from telemetry.integrations.flask import instrument

    app = Flask("shop")
    instrument(app, TelemetryClient())

    @app.get("/users/<id>")
    def user(id: str) -> str:
        return id

    @app.get("/fails")
    def fails() -> str:
        raise ValueError("private")

    with app.test_client() as browser:
        for path in ("/users/lovelace", "/nowhere", "/fails"):
            browser.get(path)
    assert summary(telemetry_events) == WANTED
    assert "private" not in str(telemetry_events.events)
    assert "lovelace" not in str(telemetry_events.events)


def test_fastapi(telemetry_events: CapturedEvents) -> None:
    import httpx
    from fastapi import FastAPI

    from telemetry.integrations.fastapi import TelemetryMiddleware

    app = FastAPI()
    app.add_middleware(TelemetryMiddleware, client=TelemetryClient())

    @app.get("/users/{id}")
    async def user(id: str) -> str:
        return id

    @app.get("/fails")
    async def fails() -> str:
        raise ValueError("private")

    async def main() -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as browser:
            for path in ("/users/lovelace", "/nowhere", "/fails"):
                await browser.get(path)

    asyncio.run(main())
    expected = [(kind, str(name).replace("<id>", "{id}"), status) for kind, name, status in WANTED]
    assert summary(telemetry_events) == expected


DJANGO = """
import sys
from django.conf import settings
settings.configure(
    ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x", DEBUG_PROPAGATE_EXCEPTIONS=False,
    MIDDLEWARE=["telemetry.integrations.django.TelemetryMiddleware"], TELEMETRY={"flush_interval": 2},
)
import django
from django.http import HttpResponse
from django.urls import path
def user(request, id): return HttpResponse(id)
def fails(request): raise ValueError("private")
urlpatterns = [path("users/<id>", user), path("fails", fails)]
django.setup()
from django.test import Client
from telemetry.integrations.django import client
from telemetry.testing import capture
with capture() as events:
    browser = Client(raise_request_exception=False)
    for address in ("/users/lovelace", "/nowhere", "/fails"):
        browser.get(address)
assert client().options.flush_interval == 2
for event in events:
    print(event["event_type"], event["properties"]["operation"], event["properties"].get("http_status"), sep="|")
"""


def test_django() -> None:
    # Its settings are of a whole process.
    done = subprocess.run([sys.executable, "-c", DJANGO], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["|".join(map(str, line)) for line in WANTED]


CELERY = """
from celery import Celery
from telemetry import TelemetryClient
from telemetry.integrations.celery import instrument
from telemetry.testing import capture
app = Celery("shop", broker="memory://", backend="cache+memory://")
app.conf.task_always_eager = True
instrument(TelemetryClient())
@app.task(name="add")
def add(a, b): return a + b
@app.task(name="fails")
def fails(): raise ValueError("private")
with capture() as events:
    assert add.delay(1, 2).get() == 3
    fails.delay()
for event in events:
    print(event["event_type"], event["properties"]["operation"], event["properties"].get("status"), sep="|")
"""


def test_celery() -> None:
    done = subprocess.run([sys.executable, "-c", CELERY], check=True, capture_output=True, text=True, timeout=60)
    assert sorted(done.stdout.splitlines()) == ["error|fails|None", "performance|add|ok", "performance|fails|error"]


@pytest.mark.parametrize("name", ["flask", "django", "fastapi", "celery"])
def test_none_is_longer_than_a_page(name: str) -> None:
    path: Path = ROOT / f"clients/python/src/telemetry/integrations/{name}.py"
    assert len(path.read_text().splitlines()) <= 80
