"""A whole system in the roles it has in production, on servers of its own that a test may lose."""

import signal
import subprocess
import uuid

import yaml
from conftest import required
from servers import Kafka, Postgres, Redis, eventually, free_ports
from system import Load, Process, run

PASSWORD = "life-2f61a7"
ROWS = """
import sys, pyarrow.dataset as dataset, pyarrow.fs as fs
endpoint, access, secret, path = sys.argv[1:]
store = fs.S3FileSystem(access_key=access, secret_key=secret, endpoint_override=endpoint, region="us-east-1")
files = [info.path for info in store.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
         if "dataset=events" in info.path and info.path.endswith(".parquet")]
rows = dataset.dataset(files, filesystem=store).to_table(columns=["event_id"])["event_id"].to_pylist() if files else []
print(len(rows), len(set(rows)))
"""


class Town:
    """Two gateways, two processors, an archiver and an alerter, on servers of their own."""

    def __init__(self, folder, roles: dict[str, dict] | None = None):
        """`roles` has, for roles by name, what their configurations have besides."""
        self.folder, self.roles = folder, roles or {}
        self.kafka = Kafka(folder / "kafka", None, {})
        self.postgres = Postgres(folder / "postgres", None, PASSWORD)
        self.redis = Redis(folder / "redis", None, PASSWORD)
        self.prefix = f"life-{uuid.uuid4().hex[:12]}"
        self.ports = free_ports(2)
        self.accepted: set[str] = set()
        self.users: set[str] = set()
        self.parts: dict[str, Process] = {}

    def config(self, **sections) -> dict:
        return {
            "log": {"kind": "kafka", "brokers": f"127.0.0.1:{self.kafka.plain}", "properties": {"session.timeout.ms": "10000"}},
            "topics": {"partitions": 4, "replication_factor": 1, "min_insync_replicas": 1},
            "archive": {
                "database": {"kind": "postgres", "url": self.postgres.url()},
                "s3": {
                    "kind": "s3",
                    "bucket": "ttf-test",
                    "region": "us-east-1",
                    "allow_http": True,
                    "endpoint": required("TTF_TEST_S3_ENDPOINT"),
                    "access_key": required("TTF_TEST_S3_ACCESS_KEY"),
                    "secret_key": required("TTF_TEST_S3_SECRET_KEY"),
                    "prefix": self.prefix,
                },
                "rotation": {"interval": "1s"},
                "live_view": {"kind": "redis", "url": self.redis.url()},
            },
            **sections,
        }

    def apply(self):
        file = self.folder / "apply.yaml"
        file.write_text(yaml.safe_dump(self.config()))
        done = run("topics", "apply", "--config", file)
        assert done.returncode == 0, done.stderr

    def start(self):
        self.apply()
        for number, port in enumerate(self.ports):
            gateway = {
                "listen": f"127.0.0.1:{port}",
                "auth": {"mode": "open"},
                "redis": self.redis.url(),
                "kafka_ingress": {"ordinal": str(number)},
            }
            self.add(f"gateway-{number}", "gateway", gateway=gateway)
        for number in range(2):
            processor = {"ordinal": str(number), "state_dir": str(self.folder / f"state-{number}")}
            self.add(f"processor-{number}", "processor", processor=processor)
        self.add("archiver", "archiver")
        self.add("alerter", "alerter", alerter={"state_dir": str(self.folder / "alerts")})
        for part in self.parts.values():
            part.ready(120)

    def add(self, name: str, role: str, **sections):
        for section, values in self.roles.get(role, {}).items():
            sections[section] = {**sections.get(section, {}), **values} if isinstance(values, dict) else values
        self.parts[name] = Process(role, self.folder / name, self.config(**sections))

    def load(self) -> Load:
        return Load(self.ports)

    def keep(self, load: Load):
        self.accepted |= load.accepted
        self.users |= load.users

    def stored(self) -> set[str]:
        return set(self.postgres.psql("select event_id from events").split())

    def rows(self) -> tuple[int, int]:
        """Rows of events in the database, and how many different ones."""
        rows, different = self.postgres.psql("select count(*), count(distinct event_id) from events").split("|")
        return int(rows), int(different)

    def completed(self) -> int:
        return int(self.postgres.psql("select count(*) from journeys where status = 'completed'") or 0)

    def everything_arrives(self, seconds: float = 90):
        def missing():
            gone = self.accepted - self.stored()
            return None if gone or self.completed() < len(self.users) else True

        try:
            eventually("everything is stored", seconds, missing, pause=0.5)
        except AssertionError:
            gone = self.accepted - self.stored()
            logs = "".join(f"\n--- {name}\n{part.log[-1500:]}" for name, part in self.parts.items())
            raise AssertionError(f"{len(gone)} of {len(self.accepted)} events missing, {self.completed()} of {len(self.users)} journeys{logs}") from None
        twice = self.postgres.psql("select event_id from events where event_id like 'user-%' group by 1 having count(*) > 1")
        assert twice == "", "an event is there twice"

    def archived(self) -> tuple[int, int]:
        """Rows of events in the bucket, and how many different ones."""
        endpoint = required("TTF_TEST_S3_ENDPOINT")
        keys = required("TTF_TEST_S3_ACCESS_KEY"), required("TTF_TEST_S3_SECRET_KEY")
        told = subprocess.run(
            [required("TTF_TEST_PYTHON"), "-c", ROWS, endpoint, *keys, f"ttf-test/{self.prefix}"], check=True, capture_output=True, text=True
        )
        rows, different = told.stdout.split()
        return int(rows), int(different)

    def stop(self):
        for part in self.parts.values():
            part.stop(signal.SIGKILL)
        for server in (self.kafka, self.postgres, self.redis):
            server.stop()
