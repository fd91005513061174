"""Secrets show nowhere: neither in the log nor in the figures, arguments or environment of a process that waits for Kafka."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import yaml
from conftest import free_ports

SECRETS = {
    "kafka": "kafka-8b1f0c55e2",
    "registry": "registry-77d0a1c3",
    "database": "database-4c6fe8b9",
    "redis": "redis-0d93b5a7f1",
    "access": "AKIA0SECRET0ACCESS",
    "s3": "s3-5e2d7c90b4a1",
    "privacy": "privacy-a1b2c3d4e5f60718",
    "receiver": "receiver-9f8e7d6c5b",
    "name": "name-key-3344556677",
}


def text_of(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.read().decode()


def test_secrets_show_nowhere_while_kafka_is_away(ttf, tmp_path):
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value)
    reference = {name: f"${{file:{tmp_path / name}}}" for name in SECRETS}
    # Held without listening: whoever connects is refused, and nobody else can take it.
    away = socket.socket()
    away.bind(("127.0.0.1", 0))
    nowhere, (admin, listen) = away.getsockname()[1], free_ports(2)
    config = {
        "service": {"admin_listen": f"127.0.0.1:{admin}", "log_level": "debug", "log_format": "json"},
        "log": {
            "kind": "kafka",
            "brokers": f"127.0.0.1:{nowhere}",
            "properties": {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": "PLAIN",
                "sasl.username": "ttf",
                "sasl.password": reference["kafka"],
            },
        },
        "schema_registry": {"url": f"http://ttf:{reference['registry']}@127.0.0.1:{nowhere}"},
        "gateway": {"listen": f"127.0.0.1:{listen}", "redis": f"redis://:{reference['redis']}@127.0.0.1:{nowhere}"},
        "privacy": {"keys": [{"id": "one", "secret": reference["privacy"]}]},
        "archive": {
            "database": {"kind": "postgres", "url": f"postgres://ttf:{reference['database']}@127.0.0.1:{nowhere}/ttf"},
            "s3": {
                "kind": "s3",
                "bucket": "b",
                "region": "r",
                "endpoint": f"http://127.0.0.1:{nowhere}",
                "allow_http": True,
                "access_key": reference["access"],
                "secret_key": reference["s3"],
            },
            "live_view": {"kind": "redis", "url": f"redis://:{reference['redis']}@127.0.0.1:{nowhere}"},
        },
        "processor": {"state_dir": str(tmp_path / "state")},
        "alerter": {
            "state_dir": str(tmp_path / "alerts"),
            "user_id_key": reference["name"],
            "route": {"receiver": "hook"},
            "receivers": [{"name": "hook", "webhook": {"url": "http://127.0.0.1:9/", "secret": reference["receiver"]}}],
        },
    }
    (tmp_path / "telemetry.yaml").write_text(yaml.safe_dump(config))
    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [ttf, "all", "--config", str(tmp_path / "telemetry.yaml")],
            stdout=output,
            stderr=output,
            env={"PATH": os.environ["PATH"], "RUST_BACKTRACE": "1"},
        )
    try:
        said = ""
        end = time.monotonic() + 60
        while "waiting for the log" not in said and process.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
            said = log.read_text()
        assert "waiting for the log" in said, said
        shown = said + Path(f"/proc/{process.pid}/cmdline").read_text() + Path(f"/proc/{process.pid}/environ").read_text()
        for path in ("health", "live", "ready", "metrics"):
            shown += text_of(f"http://127.0.0.1:{admin}/{path}")
        assert "ttf_build_info" in shown
    finally:
        process.kill()
        process.wait(timeout=20)
        away.close()
    shown += log.read_text()
    assert [name for name, value in SECRETS.items() if value in shown] == []
