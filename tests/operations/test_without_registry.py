"""The schema registry is lost with all it had, and comes back from its own backup."""

import uuid

import pytest
import yaml
from servers import Postgres, Redis, Registry, eventually, free_ports
from system import Load, Process, get, run
from town import PASSWORD


@pytest.fixture
def registry(tmp_path):
    registry = Registry(tmp_path / "registry")
    yield registry
    registry.stop()


@pytest.fixture
def stores(tmp_path):
    tmp_path.chmod(0o755)
    stores = Postgres(tmp_path / "postgres", None, PASSWORD), Redis(tmp_path / "redis", None, PASSWORD)
    yield stores
    for store in stores:
        store.stop()


def test_the_registry_is_lost_and_comes_back_from_its_backup(world, registry, stores, tmp_path):
    """Who runs goes on without it. Who starts waits for it, and reads what was written before once the ids are back."""
    postgres, redis = stores
    (gateway,) = free_ports(1)
    prefix = f"registry-{uuid.uuid4().hex[:12]}"
    config = {
        "log": {"kind": "kafka", "brokers": f"127.0.0.1:{world.kafka.plain}", "properties": {"session.timeout.ms": "10000"}},
        "schema_registry": {"url": registry.url},
        "topics": {"partitions": 4, "replication_factor": 1, "min_insync_replicas": 1},
        "gateway": {"listen": f"127.0.0.1:{gateway}", "auth": {"mode": "open"}, "redis": redis.url()},
        "processor": {"state_dir": str(tmp_path / "state")},
        "archive": {
            "database": {"kind": "postgres", "url": postgres.url()},
            "s3": {"kind": "folder", "path": str(tmp_path / "objects")},
            "live_view": {"kind": "redis", "url": redis.url()},
        },
        "alerter": {"state_dir": str(tmp_path / "alerts")},
    }
    (tmp_path / "apply.yaml").write_text(yaml.safe_dump(config))
    assert run("topics", "apply", "--config", tmp_path / "apply.yaml").returncode == 0
    part = Process("all", tmp_path / "all", config)
    try:
        part.ready(120)
        load = Load([gateway])

        def completed() -> bool:
            return int(postgres.psql(f"select count(*) from journeys where status = 'completed' and user_id like '{prefix}-%'") or 0) == done

        load.user(f"{prefix}-half", slice(0, 3))
        load.user(f"{prefix}-before")
        done = 1
        eventually("a journey is complete", 90, completed)
        backup = registry.export()

        registry.stop()
        load.user(f"{prefix}-without")
        done = 2
        eventually("a journey is complete without the registry", 90, completed)

        part.stop()
        registry.server.start()
        registry.ready()
        assert registry.subjects() == [], "nothing was lost"
        registry.restore(backup)
        # From the beginning of the changelog: every record that carries an id of the lost registry is read again.
        for file in sorted((tmp_path / "state").rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()
        part.server.start()
        part.ready(120)
        load.user(f"{prefix}-half", slice(3, None))
        load.user(f"{prefix}-after")
        done = 4
        eventually("who was half-way has arrived", 90, completed)
        assert set(load.answers) == {"2xx"}, load.answers
        rejected = [line for line in get(f"http://127.0.0.1:{part.admin}/metrics").splitlines() if line.startswith("ttf_dlq_records_total{")]
        assert rejected == []
    finally:
        part.stop()
