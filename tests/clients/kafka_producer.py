"""Produces N CloudEvents in binary mode: kafka_producer.py BROKERS N."""

import sys

from confluent_kafka import Producer

brokers, count = sys.argv[1], int(sys.argv[2])
failures = []
producer = Producer({"bootstrap.servers": brokers, "enable.idempotence": True, "linger.ms": 5})
for number in range(count):
    headers = {
        "ce_specversion": "1.0", "ce_id": f"python-{number}", "ce_source": "/python", "ce_type": "project_created",
        "ce_subject": f"python-{number}", "content-type": "application/json",
    }
    producer.produce(
        "telemetry.events.raw.v1", key=str(number), value=f'{{"number":{number}}}', headers=headers,
        on_delivery=lambda error, _: failures.append(error) if error else None,
    )
    producer.poll(0)
left = producer.flush(30)
sys.exit(f"not delivered: {left} left, {failures}" if left or failures else 0)
