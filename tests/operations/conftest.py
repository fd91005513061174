"""What the tests of operation share: servers as in production, and configurations for them."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest
from servers import Authority, Kafka, Postgres, Redis, Store, free_ports

#: None of these may show anywhere.
SECRETS = {
    "operator": "operator-51d0c7e2b9",
    "limited": "limited-c4e8a07f31",
    "telemetry-gateway": "gateway-8d2c51aa07",
    "telemetry-processor": "processor-b90e63f214",
    "telemetry-archiver": "archiver-5f7a0cd938",
    "telemetry-alerter": "alerter-e6b1842c7d",
    "postgres": "postgres-7be2f96d04",
    "redis": "redis-e019d3ab58",
    "s3": "objects-90ab12cd34",
    "privacy": "privacy-a1b2c3d4e5f60718",
    "names": "names-3344556677889900",
}


def required(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set; run scripts/test-operations.sh")
    return value


@dataclass
class World:
    """All servers, secured, and what a configuration says to use them."""

    folder: Path
    authority: Authority
    kafka: Kafka
    postgres: Postgres
    redis: Redis
    store: Store

    def environment(self) -> dict[str, str]:
        """For everything that finds authorities by itself."""
        return {"SSL_CERT_FILE": str(self.authority.ca)}

    def kafka_properties(self, user: str = "operator", mechanism: str = "SCRAM-SHA-512") -> dict[str, str]:
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": mechanism,
            "sasl.username": user,
            "sasl.password": self.secret(user),
            "ssl.ca.location": str(self.authority.ca),
        }

    def mtls_properties(self) -> dict[str, str]:
        return {
            "security.protocol": "SSL",
            "ssl.ca.location": str(self.authority.ca),
            "ssl.certificate.location": str(self.authority.client_certificate),
            "ssl.key.location": str(self.authority.client_key),
        }

    def secret(self, name: str) -> str:
        """A reference to a file, as in production."""
        file = self.folder / f"{name}.secret"
        file.write_text(SECRETS[name])
        return f"${{file:{file}}}"

    def config(self, **sections) -> dict:
        gateway, redis = free_ports(1)[0], self.folder / "redis-url.secret"
        redis.write_text(self.redis.url())
        database = self.folder / "database-url.secret"
        database.write_text(self.postgres.url(f"?sslmode=verify-full&sslrootcert={self.authority.ca}"))
        return {
            "log": {"kind": "kafka", "brokers": f"127.0.0.1:{self.kafka.sasl}", "properties": self.kafka_properties()},
            "topics": {"partitions": 4, "replication_factor": 1, "min_insync_replicas": 1},
            "gateway": {
                "listen": f"127.0.0.1:{gateway}",
                "auth": {"mode": "open"},
                "redis": f"${{file:{redis}}}",
                "dedup": {"redis_timeout": "2s"},
            },
            "privacy": {"keys": [{"id": "one", "secret": self.secret("privacy")}]},
            "processor": {"state_dir": str(self.folder / "state")},
            "archive": {
                "database": {"kind": "postgres", "url": f"${{file:{database}}}"},
                "s3": {
                    "kind": "s3",
                    "bucket": Store.BUCKET,
                    "region": "us-east-1",
                    "endpoint": self.store.endpoint,
                    "access_key": "test",
                    "secret_key": self.secret("s3"),
                    "prefix": f"operations-{uuid.uuid4().hex[:12]}",
                },
                "live_view": {"kind": "redis", "url": f"${{file:{redis}}}", "timeout": "2s"},
            },
            "alerter": {"state_dir": str(self.folder / "alerts"), "user_id_key": self.secret("names")},
            **sections,
        }


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    folder.chmod(0o755)
    authority = Authority(folder / "tls")
    users = {name: SECRETS[name] for name in ("operator", "limited", *(one for one in SECRETS if one.startswith("telemetry-")))}
    started = []
    try:
        for make in (
            lambda: Kafka(folder / "kafka", authority, users),
            lambda: Postgres(folder / "postgres", authority, SECRETS["postgres"]),
            lambda: Redis(folder / "redis", authority, SECRETS["redis"]),
            lambda: Store(folder / "store", authority, SECRETS["s3"]),
        ):
            started.append(make())
        yield World(folder, authority, *started)
    finally:
        for server in started:
            server.stop()
