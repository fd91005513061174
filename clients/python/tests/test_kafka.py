"""Straight to Kafka, against a real broker."""

from __future__ import annotations

import json
import os
import uuid

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic

from telemetry import TelemetryClient
from telemetry.verdict import Next

from .waiting import until


@pytest.fixture
def broker() -> str:
    address = os.environ.get("TTF_TEST_KAFKA", "")
    if not address:
        pytest.fail("TTF_TEST_KAFKA must name a broker (`make services-up` starts one, `make test` does by itself)")
    return address


def test_events_are_acknowledged_and_keyed_by_person(broker: str) -> None:
    topic = f"python-client-{uuid.uuid4().hex[:12]}"
    admin = AdminClient({"bootstrap.servers": broker})
    for future in admin.create_topics([NewTopic(topic, 3, 1)]).values():
        future.result(30)
    with TelemetryClient(f"kafka://{broker}/{topic}", timeout=30) as ours:
        ids = [ours.track("x", user_id=f"u{number % 7}", properties={"n": number}) for number in range(500)]
        assert ours.flush(60)
        assert (ours.stats().accepted, ours.stats().unaccounted) == (500, 0)
    reader = Consumer({"bootstrap.servers": broker, "group.id": topic, "auto.offset.reset": "earliest"})
    reader.subscribe([topic])
    events = []

    def read() -> bool:
        for message in reader.consume(500, 0.2):
            assert message.error() is None
            events.append((message.key().decode(), message.partition(), json.loads(message.value())))
        return len(events) >= 500

    until(read, lambda: f"500 events, not {len(events)}", 60)
    reader.close()
    assert sorted(event["event_id"] for _, _, event in events) == sorted(map(str, ids))
    assert all(key == event["user_id"] for key, _, event in events)
    assert all(len({partition for key, partition, _ in events if key == f"u{n}"}) == 1 for n in range(7))
    admin.delete_topics([topic])


def test_a_broker_that_is_away_loses_nothing() -> None:
    from telemetry.kafka import KafkaTransport

    transport = KafkaTransport({"bootstrap.servers": "127.0.0.1:9"})
    verdict = transport.send([b'{"user_id":"u"}'], 1.0)
    assert (verdict.next, dict(verdict.fates)) == (Next.LATER, {})
    transport.close()
