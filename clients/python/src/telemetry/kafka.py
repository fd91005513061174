"""Straight to Kafka: events go to `telemetry.events.raw.v1`, from where the gateway takes them (extra `kafka`).

    TelemetryClient("kafka://broker-1:9092,broker-2:9092")
    TelemetryClient(transport=KafkaTransport({"bootstrap.servers": …, "sasl.username": …}))

What the gateway thinks of an event is not heard this way: refused ones are on `telemetry.events.rejected.v1`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional
from urllib.parse import urlsplit

from .errors import ConfigurationError
from .verdict import Fate, Next, Verdict, unreachable

#: The topic that producers write to (docs/api.md).
TOPIC = "telemetry.events.raw.v1"

_DEFAULTS: dict[str, Any] = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "compression.type": "zstd",
    # As Java clients do, so that a person's events meet on one partition whoever sends them.
    "partitioner": "murmur2_random",
}


class KafkaTransport:
    """Produces events and waits for the brokers' acknowledgements. `settings` are librdkafka's."""

    def __init__(self, settings: Mapping[str, Any], topic: str = TOPIC) -> None:
        try:
            from confluent_kafka import Producer  # noqa: PLC0415 – an extra
        except ImportError:
            raise ConfigurationError("Kafka needs the extra: pip install 'ttf-telemetry[kafka]'") from None
        self._make = Producer
        self._settings = {**_DEFAULTS, **settings}
        self._topic = topic
        self._producer: Optional[Any] = None
        self.bytes_sent = 0

    @classmethod
    def from_url(cls, url: str) -> KafkaTransport:
        """`kafka://host:9092,host:9092/topic`; the topic may be left out."""
        parts = urlsplit(url)
        if not parts.netloc or "@" in parts.netloc:
            raise ConfigurationError("url: kafka://host:9092; for accounts give `transport=KafkaTransport({…})`")
        return cls({"bootstrap.servers": parts.netloc}, parts.path.strip("/") or TOPIC)

    def send(self, payloads: Sequence[bytes], timeout: float) -> Verdict:
        """See `Transport`."""
        deadline = time.monotonic() + timeout
        self.bytes_sent = sum(map(len, payloads))
        fates: dict[int, Fate] = {}
        problems: list[str] = []
        if self._producer is None:
            # Ours to try again, with a producer that gives up when we do.
            settings = {"message.timeout.ms": max(1000, int(timeout * 1000)), **self._settings}
            self._producer = self._make(settings)
        for index, payload in enumerate(payloads):

            def delivered(error: Any, _message: Any, index: int = index) -> None:
                if error is None:
                    fates[index] = "accepted"
                else:
                    problems.append(str(error.name()))

            try:
                self._producer.produce(self._topic, payload, _key(payload), on_delivery=delivered)
            except BufferError:
                break
        self._producer.flush(max(0.0, deadline - time.monotonic()))
        if len(fates) == len(payloads):
            return Verdict(Next.DONE, fates)
        if not fates:
            return unreachable(f"kafka: {problems[0] if problems else 'no acknowledgement in time'}")
        return Verdict(Next.LATER, fates, problem="kafka: some events were not acknowledged")

    def close(self) -> None:
        """See `Transport`."""
        self._producer = None

    def forget(self) -> None:
        """See `Transport`. A producer does not survive a fork, nor may it be ended in the child: it is kept."""
        _inherited.append(self._producer)
        self._producer = None


_inherited: list[Any] = []


def _key(payload: bytes) -> Optional[str]:
    event = json.loads(payload)
    person = event.get("user_id") or event.get("anonymous_id")
    return str(person) if person else None
