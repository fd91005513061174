"""Every role with a Kafka user of its own that has the rights of the example for Strimzi, and no others."""

import hashlib
import json
import urllib.request
from datetime import datetime, timedelta, timezone

import pytest
import yaml
from confluent_kafka import Consumer, TopicPartition
from conftest import SECRETS
from rights import denied, rights_of
from servers import eventually
from system import MILESTONES, Process, run

ROLES = ("processor", "gateway", "archiver", "alerter")
KEY = "operator-of-rights"


@pytest.fixture(scope="module")
def roles(world, tmp_path_factory):
    """The four roles, each as its user; the topics are made by the processor's, as the Job `telemetry-topics` does."""
    folder = tmp_path_factory.mktemp("rights")
    admin = world.kafka.admin()
    for done in admin.create_acls([rule for role in ROLES for rule in rights_of(role, f"telemetry-{role}")]).values():
        done.result()
    key = {"name": "operator", "sha256": hashlib.sha256(KEY.encode()).hexdigest(), "scopes": ["ingest", "read", "admin"]}
    config = world.config(tenants={"default": {"keys": [key]}})
    config["gateway"]["auth"] = {"mode": "required"}
    config["archive"] |= {"rotation": {"interval": "1s"}, "cohorts": {"interval": "1s"}}
    config["processor"]["state_dir"] = str(folder / "state")
    config["alerter"] |= {
        "state_dir": str(folder / "alerts"),
        "checks": {
            "interval": "1s",
            "application": {"window": "5m", "minimum_volume": 50, "error_rate": 0.05, "response_time": "2s", "for": "1m"},
        },
        "route": {"receiver": "log", "group_wait": "1s"},
    }

    def of(role: str) -> dict:
        return json.loads(json.dumps(config)) | {
            "log": {**config["log"], "properties": world.kafka_properties(f"telemetry-{role}")}
        }

    # Others of this run may have made them.
    if topics := [name for name in admin.list_topics(timeout=10).topics if name.startswith("telemetry.")]:
        for done in admin.delete_topics(topics).values():
            done.result()
    (folder / "apply.yaml").write_text(yaml.safe_dump(of("processor")))

    def applied():
        done = run("topics", "apply", "--config", folder / "apply.yaml", environment=world.environment())
        return done.returncode == 0 or print(done.stderr)

    # A topic that was just deleted may not be gone yet.
    eventually("the topics are made", 60, applied)
    parts = {}
    try:
        for role in ROLES:
            parts[role] = Process(role, folder / role, of(role), world.environment())
        for part in parts.values():
            part.ready(90)
        yield parts, f"http://{config['gateway']['listen']}"
    finally:
        for part in parts.values():
            part.stop()


def ask(url: str, body: dict | None = None) -> dict:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())


def written(world, topic: str) -> list[bytes]:
    """Everything on a topic."""
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{world.kafka.plain}", "group.id": "reader", "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(4)])
    found, over = [], 0
    while over < 4:
        record = consumer.poll(20)
        assert record is not None, "no answer"
        if record.error():
            over += 1
        else:
            found.append(record.value() or b"")
    consumer.close()
    return found


def test_each_role_does_all_it_does_and_is_denied_nothing(world, roles):
    parts, gateway = roles
    stamp = lambda minutes: (datetime.now(timezone.utc) - timedelta(minutes=minutes)).isoformat(timespec="milliseconds")  # noqa: E731
    events = [
        {"event_id": f"whole-{name}", "event_name": name, "event_type": "track", "user_id": "whole", "timestamp": stamp(30 - index)}
        for index, name in enumerate(MILESTONES)
    ]
    events += [{"event_id": "late", "event_name": "signup", "event_type": "track", "user_id": "late", "timestamp": stamp(100)}]
    events += [{"event_id": "wrong", "event_name": "", "event_type": "track", "user_id": "wrong", "timestamp": stamp(1)}]
    told = ask(f"{gateway}/api/v1/events", {"events": events})
    assert (told["accepted"], told["rejected"]) == (6, 1), told

    def row(query: str, answer: str) -> bool:
        return world.postgres.psql(query) == answer

    eventually("the journey is in the database", 60, lambda: row("select status from journeys where user_id = 'whole'", "completed"))
    eventually("a breach is told to a receiver", 60, lambda: written(world, "telemetry.alerts.deliveries.v1"))
    eventually("cohorts are on the gateway's metrics", 60, lambda: "ttf_cohort_" in parts["gateway"].get("/metrics"))
    eventually("the alert can be asked for", 60, lambda: ask(f"{gateway}/api/v1/alerts").get("alerts"))
    silence = {"matchers": ['user_id="late"'], "duration": "1h", "comment": "looked at"}
    ask(f"{gateway}/api/v1/silences", silence)
    eventually("the silence stands", 60, lambda: ask(f"{gateway}/api/v1/silences").get("silences"))
    ask(f"{gateway}/api/v1/privacy/erasures", {"user_id": "late", "reason": "asked for it"})
    eventually("the erasure is complete", 90, lambda: any(b"erasure_complete" in entry for entry in written(world, "telemetry.audit.v1")))
    for role in ROLES:
        assert denied(world.kafka, f"telemetry-{role}") == set(), parts[role].log[-2000:]


@pytest.mark.parametrize("role", ROLES)
def test_the_doctor_finds_nothing_missing_either(world, roles, tmp_path, role):
    parts, _ = roles
    done = run("doctor", "--config", parts[role].config, "--role", role, "--json", environment=world.environment())
    checks = [one for one in json.loads(done.stdout)["checks"] if one["part"] == "kafka"]
    assert [one for one in checks if one["status"] == "wrong"] == []
    assert f"may write as {role}" in {one["check"] for one in checks if one["status"] == "ok"}
    assert [value for value in SECRETS.values() if value in done.stdout + done.stderr] == []
