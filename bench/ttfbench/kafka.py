"""`ttf all` on the servers that `scripts/services/services.sh` started."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ttfbench.process import Process, free_port

PARTITIONS = 12


@dataclass(frozen=True)
class Settings:
    """Where the servers are."""

    brokers: str
    libs: str
    registry: str
    postgres: str
    redis: str
    s3: str

    @classmethod
    def of_environment(cls) -> "Settings":
        names = ["KAFKA", "KAFKA_LIBS", "REGISTRY", "POSTGRES", "REDIS", "S3_ENDPOINT"]
        return cls(*(os.environ[f"TTF_TEST_{name}"] for name in names))


def server_pids() -> dict[str, int]:
    """Process ids by the servers' names; a broker's is `kafka/1`."""
    root = Path(os.environ["TTF_SERVICES_DIR"])
    files = [*root.glob("*/pid"), *root.glob("*/*/pid")]
    return {str(file.parent.relative_to(root)): int(file.read_text()) for file in files}


def everything(binary: Path, folder: Path, settings: Settings) -> Process:
    """Makes the topics and starts all four services in one process."""
    folder.mkdir()
    port = free_port()
    configuration = {
        "service": {"admin_listen": f"127.0.0.1:{free_port()}"},
        "log": {"kind": "kafka", "brokers": settings.brokers},
        "topics": {"partitions": PARTITIONS, "replication_factor": 1, "min_insync_replicas": 1},
        "schema_registry": {"url": settings.registry},
        "gateway": {"listen": f"127.0.0.1:{port}", "auth": {"mode": "open"}},
        "processor": {"state_dir": str(folder / "state")},
        "alerter": {"state_dir": str(folder / "alerts")},
        "archive": {
            "database": {"kind": "postgres", "url": settings.postgres},
            "s3": {
                "kind": "s3",
                "bucket": "ttf-test",
                "region": "us-east-1",
                "endpoint": settings.s3,
                "access_key": os.environ["TTF_TEST_S3_ACCESS_KEY"],
                "secret_key": os.environ["TTF_TEST_S3_SECRET_KEY"],
                "allow_http": True,
                "prefix": "bench",
            },
            "live_view": {"kind": "redis", "url": settings.redis},
        },
    }
    # JSON is YAML.
    file = folder / "telemetry.yaml"
    file.write_text(json.dumps(configuration))
    log = folder / "log"
    with log.open("ab") as out:
        subprocess.run([binary, "topics", "apply", "--config", file], check=True, stdout=out, stderr=out)
    return Process(binary, ["all", "--config", str(file)], port, log)
