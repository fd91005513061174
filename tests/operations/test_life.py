"""A system's life: restarted part by part under load, and every component lost once.

One system goes through all of it, so the tests stand in order.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from servers import eventually
from system import get
from town import PASSWORD, Town

ROOT = Path(__file__).parents[2]


def sql_panels() -> list[tuple[str, str]]:
    """Every SQL query of every dashboard, with what Grafana puts in."""
    found = []
    for file in sorted((ROOT / "deploy/grafana/dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel.get("targets", []):
                if sql := target.get("rawSql"):
                    sql = re.sub(r"\$__timeFilter\(([^)]+)\)", r"\1 between now() - interval '30 days' and now()", sql)
                    found.append((panel["title"], sql.replace("${tenant:sqlstring}", "'default'")))
    assert len(found) >= 8
    return found


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    folder.chmod(0o755)
    town = Town(folder)
    try:
        town.start()
        yield town
    finally:
        town.stop()


def test_every_part_is_restarted_under_load_and_nothing_is_lost(town):
    with town.load() as load:
        eventually("the load runs", 90, lambda: len(load.users) > 10)
        for name, part in town.parts.items():
            before = len(load.users)
            leaves = load.without(town.ports[int(name[-1])]) if part.role == "gateway" else contextlib.nullcontext()
            with leaves:
                part.restart()
            eventually(f"the load goes on after {name}", 60, lambda: len(load.users) > before + 10)
    town.keep(load)
    assert set(load.answers) <= {"2xx", "503"}, load.answers
    assert load.answers["2xx"] == len(load.accepted)
    town.everything_arrives()
    assert town.completed() == len(town.users)
    rejected = [line for part in town.parts.values() for line in get(f"http://127.0.0.1:{part.admin}/metrics").splitlines() if line.startswith("ttf_dlq_records_total{")]
    assert rejected == []


def test_every_sql_panel_returns_rows(town):
    """Of users of today: one who is late, an application that is slow and fails, besides those who got through."""
    now = datetime.now(timezone.utc)
    stamp = lambda minutes: (now - timedelta(minutes=minutes)).isoformat(timespec="milliseconds").replace("+00:00", "Z")  # noqa: E731
    events = [
        {"event_id": "late", "event_name": "signup", "event_type": "track", "user_id": "late", "timestamp": stamp(100)},
        {"event_id": "slow", "event_name": "request", "event_type": "performance", "timestamp": stamp(5),
         "properties": {"operation": "checkout", "duration_ms": 900, "status": "ok"}},
        {"event_id": "fails", "event_name": "failure", "event_type": "error", "timestamp": stamp(5),
         "properties": {"error_type": "timeout", "operation": "checkout", "severity": "error", "message": "m", "handled": False}},
    ]  # fmt: skip
    request = urllib.request.Request(
        f"http://127.0.0.1:{town.ports[0]}/api/v1/events", json.dumps({"events": events}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 202, answer.read()
    town.accepted |= {event["event_id"] for event in events}
    for title, sql in sql_panels():
        eventually(f"panel `{title}` has rows", 60, lambda sql=sql: town.postgres.psql(f"set role ttf_reader; {sql}"))


def is_shared(town) -> bool:
    """Whether one gateway knows an event that the other took."""
    event = {"event_id": f"shared-{uuid.uuid4().hex}", "event_name": "shared", "event_type": "track", "user_id": "shared"}
    told = []
    for port in town.ports:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/v1/events", json.dumps({"events": [event]}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            told.append(json.loads(answer.read()))
    return told[1]["duplicate"] == 1


def test_redis_is_lost_with_all_it_had(town):
    """Nothing is lost but what was remembered: requests go on, the live view fills again."""
    with town.load() as load:
        eventually("the load runs", 90, lambda: len(load.users) > 1)
        town.redis.server.stop(signal.SIGKILL)
        before = len(load.users)
        eventually("the load goes on without Redis", 60, lambda: len(load.users) > before + 2)
        town.redis.server.start()
        eventually("Redis is back", 90, lambda: town.redis.cli("ping") == "PONG")
        before = len(load.users)
        eventually("the load goes on with it", 60, lambda: len(load.users) > before + 2)
    town.keep(load)
    assert set(load.answers) == {"2xx"}, load.answers
    eventually("gateways share what they remember again", 90, lambda: is_shared(town))
    town.everything_arrives()
    eventually("the live view fills", 90, lambda: town.redis.cli("--scan", "--pattern", "ttf:live*"))


def test_a_processors_volume_is_lost_in_the_middle_of_journeys(town):
    """State comes back from the changelog: who was half-way arrives."""
    load = town.load()
    halves = [f"half-{number}-{uuid.uuid4().hex}" for number in range(6)]
    for user in halves:
        load.user(user, slice(0, 3))
    sent = set(load.accepted)
    eventually("half-way journeys are known", 60, lambda: sent <= town.stored())
    for number in range(2):
        part = town.parts[f"processor-{number}"]
        part.stop(signal.SIGKILL)
        shutil.rmtree(town.folder / f"state-{number}")
        part.server.start()
        part.ready(120)
    for user in halves:
        load.user(user, slice(3, None))
    town.keep(load)
    town.everything_arrives()
    assert town.completed() == len(town.users)


def test_the_bucket_is_lost_and_filled_again_from_the_topics(town):
    eventually("all is archived", 60, lambda: town.archived() == town.rows(), pause=1)
    # A new, empty bucket: another place below which nothing is.
    town.prefix = f"life-{uuid.uuid4().hex[:12]}"
    town.parts["archiver"].stop()
    town.add("archiver", "archiver")
    town.parts["archiver"].ready(120)
    eventually("all is archived again", 90, lambda: town.archived() == town.rows(), pause=1)


def test_the_database_is_lost_and_comes_back_from_a_dump_and_the_topics(town):
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    at = ["-h", "127.0.0.1", "-p", str(town.postgres.port), "-U", "ttf"]
    dump = town.folder / "ttf.dump"
    subprocess.run([town.postgres.bin / "pg_dump", *at, "-Fc", "-f", dump, "ttf"], check=True, env=environment)
    load = town.load()
    load.user(f"after-the-dump-{uuid.uuid4().hex}")
    town.keep(load)
    town.everything_arrives()
    town.parts["archiver"].stop()
    town.postgres.psql("drop database ttf with (force)", database="postgres")
    with contextlib.ExitStack() as running:
        # Events go on being taken meanwhile.
        meanwhile = running.enter_context(town.load())
        eventually("the load runs without a database", 90, lambda: len(meanwhile.users) > 1)
        town.postgres.psql("create database ttf", database="postgres")
        subprocess.run([town.postgres.bin / "pg_restore", *at, "-d", "ttf", dump], check=True, env=environment)
        town.parts["archiver"].server.start()
        town.parts["archiver"].ready(120)
    town.keep(meanwhile)
    assert set(meanwhile.answers) == {"2xx"}, meanwhile.answers
    town.everything_arrives()


def test_the_database_is_lost_without_a_dump_and_filled_again_from_the_topics(town):
    town.parts["archiver"].stop()
    town.postgres.psql("drop database ttf with (force)", database="postgres")
    town.postgres.psql("create database ttf", database="postgres")
    town.parts["archiver"].server.start()
    town.parts["archiver"].ready(120)
    town.everything_arrives()


def test_all_of_kafka_is_lost_and_the_archive_keeps_what_it_had(town):
    """A new cluster begins empty and counts from 0: an archiver that goes on where the old one was stops and says so, until
    it is told by the remedy of docs/operations.md. What was archived stays, what comes from then on arrives."""
    before = set(town.accepted)
    for part in town.parts.values():
        part.stop(signal.SIGKILL)
    town.kafka.lose_everything()
    town.apply()
    archiver = town.parts["archiver"]
    archiver.server.start()
    eventually("the archiver refuses", 60, lambda: archiver.server.process.poll() is not None)
    assert archiver.server.process.returncode == 1 and "follows the log of cluster" in archiver.log
    # The remedy. Names of objects have offsets in them: those of the new cluster need a place of their own.
    town.postgres.psql("truncate sink_offsets")
    town.prefix = f"life-{uuid.uuid4().hex[:12]}"
    town.add("archiver", "archiver")
    for name, part in town.parts.items():
        if name != "archiver":
            part.server.start()
    for part in town.parts.values():
        part.ready(120)
    archived = len(town.accepted)
    load = town.load()
    for number in range(4):
        load.user(f"new-cluster-{number}-{uuid.uuid4().hex}")
    town.keep(load)
    town.everything_arrives()
    assert before <= town.stored()
    new = len(town.accepted) - archived
    eventually("what is new is archived", 60, lambda: town.archived() == (new, new), pause=1)
