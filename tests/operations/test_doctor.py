"""`ttf doctor` on real servers: all well, and each thing broken in turn."""

import http.server
import json
import threading
import time
from email.utils import formatdate

import pytest
import yaml
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from conftest import SECRETS
from rights import rights_of
from servers import eventually, free_ports
from system import run

EVENTS = "telemetry.events.v1"


@pytest.fixture(scope="module")
def config(world, tmp_path_factory):
    """A configuration under which nothing is wrong."""
    folder = tmp_path_factory.mktemp("doctor")
    config = world.config()
    (folder / "apply.yaml").write_text(yaml.safe_dump(config))
    for command in (["topics", "apply"],):
        done = run(*command, "--config", folder / "apply.yaml", environment=world.environment())
        assert done.returncode == 0, done.stderr
    return config


@pytest.fixture
def doctor(world, tmp_path):
    """Asks the doctor; returns `(exit code, {part: check: (status, found, todo)})`."""

    def ask(config: dict, *arguments: str):
        file = tmp_path / "telemetry.yaml"
        file.write_text(yaml.safe_dump(config))
        done = run("doctor", "--config", file, "--json", *arguments, environment=world.environment())
        assert done.stdout.startswith("{"), done.stderr
        assert [value for value in SECRETS.values() if value in done.stdout + done.stderr] == []
        told = json.loads(done.stdout)
        checks = {f"{one['part']}: {one['check']}": one for one in told["checks"]}
        assert told["healthy"] == (done.returncode == 0)
        return done.returncode, checks

    return ask


def wrong(checks: dict) -> dict[str, str]:
    return {name: f"{one['found']} -> {one['todo']}" for name, one in checks.items() if one["status"] == "wrong"}


def changed(config: dict, path: str, value) -> dict:
    copy = json.loads(json.dumps(config))
    *parents, last = path.split("/")
    place = copy
    for parent in parents:
        place = place.setdefault(parent, {})
    place[last] = value
    return copy


def test_nothing_is_wrong_where_nothing_is(config, doctor):
    code, checks = doctor(config)
    assert (code, wrong(checks)) == (0, {})
    for name in ("kafka: reachable", "kafka: version", "kafka: topics", "kafka: may read", "kafka: may write as processor",
                 "database: reachable", "database: rights", "database: clock", "objects: conditional put", "objects: clock",
                 "gateway.redis: reachable", "archive.live_view: clock", "machine: processor.state_dir"):  # fmt: skip
        assert checks[name]["status"] == "ok", checks[name]
    assert "TLS" in checks["database: reachable"]["found"]
    assert checks["objects: reachable"]["found"].endswith("TLS"), checks["objects: reachable"]


def ends(world, role: str) -> dict[str, list[int]]:
    """Where topics end, transactions included."""
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{world.kafka.plain}", "group.id": role})
    topics = {name: found for name, found in consumer.list_topics(timeout=10).topics.items() if name.startswith("telemetry.")}
    told = {
        name: [consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=10)[1] for partition in found.partitions]
        for name, found in topics.items()
    }
    consumer.close()
    return told


def test_a_look_leaves_nothing_on_any_topic(world, config, doctor):
    before = ends(world, "before")
    code, checks = doctor(config)
    for role in ("gateway", "processor", "archiver", "alerter"):
        assert checks[f"kafka: may write as {role}"]["status"] == "ok", checks
    assert code == 0 and ends(world, "after") == before and len(before) == 15


SETTINGS = {
    "nobody listens there": ("log/brokers", lambda _: f"127.0.0.1:{free_ports(1)[0]}", "kafka: reachable", "log.brokers"),
    "more replicas than brokers": ("topics/replication_factor", lambda _: 3, "kafka: brokers", "replication_factor"),
    "another partition count": ("topics/partitions", lambda _: 6, f"kafka: {EVENTS}", "topics.partitions"),
    "no database": ("archive/database/url", lambda world: world.postgres.url("?connect_timeout=2").replace(str(world.postgres.port), str(free_ports(1)[0])), "database: reachable", "does the server run"),
    "another password of the database": ("archive/database/url", lambda world: world.postgres.url(f"?sslmode=require&sslrootcert={world.authority.ca}", password="guessed"), "database: reachable", "compare user and password"),
    "no such database": ("archive/database/url", lambda world: world.postgres.url(f"?sslmode=require&sslrootcert={world.authority.ca}", database="nowhere"), "database: reachable", "createdb"),
    "a database that wants TLS": ("archive/database/url", lambda world: world.postgres.url(), "database: reachable", "database"),
    "an authority nobody named": ("archive/database/url", lambda world: world.postgres.url(f"?sslmode=verify-full&sslrootcert={world.authority.client_certificate}"), "database: reachable", "sslrootcert"),
    "no Redis": ("gateway/redis", lambda _: f"redis://127.0.0.1:{free_ports(1)[0]}", "gateway.redis: reachable", "does the server run"),
    "another password of Redis": ("gateway/redis", lambda world: world.redis.url("guessed"), "gateway.redis: reachable", "compare user and password"),
    "Redis without TLS": ("archive/live_view/url", lambda world: world.redis.url().replace("rediss", "redis"), "archive.live_view: reachable", "address"),
    "no store": ("archive/s3/endpoint", lambda _: f"https://127.0.0.1:{free_ports(1)[0]}", "objects: reachable", "archive.s3.endpoint"),
    "another secret of the store": ("archive/s3/secret_key", lambda _: "guessed", "objects: reachable", "secret_key"),
    "a store without TLS where it has TLS": ("archive/s3", lambda world: world.config()["archive"]["s3"] | {"endpoint": world.store.endpoint.replace("https", "http"), "allow_http": True}, "objects: reachable", "archive.s3.endpoint"),
    "no registry there": ("schema_registry/url", lambda _: f"http://127.0.0.1:{free_ports(1)[0]}", "registry: reachable", "schema_registry.url"),
    "a folder that cannot be": ("processor/state_dir", lambda world: str(world.authority.ca / "state"), "machine: processor.state_dir", "no folder"),
}  # fmt: skip


#: Whoever needs a part, and least else.
ROLES = {"kafka": "archiver", "database": "archiver", "objects": "archiver", "registry": "alerter", "machine": "processor", "": "gateway"}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_does_not_fit_is_named_with_what_to_do(world, config, doctor, name):
    path, value, check, todo = SETTINGS[name]
    role = next(role for part, role in ROLES.items() if check.startswith(part))
    code, checks = doctor(changed(config, path, value(world)), "--timeout", "3s", "--role", role)
    assert code == 1
    assert check in wrong(checks), checks.get(check)
    assert todo in wrong(checks)[check], wrong(checks)[check]


@pytest.fixture
def topic_setting(world):
    """Changes a setting of a topic, and takes it back."""
    def alter(name: str, value: str):
        entry = ConfigEntry(name, value, ConfigSource.DYNAMIC_TOPIC_CONFIG, incremental_operation=AlterConfigOpType.SET)
        admin = world.kafka.admin()
        resource = ConfigResource(ConfigResource.Type.TOPIC, EVENTS, incremental_configs=[entry])
        for done in admin.incremental_alter_configs([resource]).values():
            done.result()

    altered = []

    def change(name: str, value: str):
        altered.append((name, value))
        alter(name, value)

    yield change
    for name, _ in altered:
        alter(name, {"cleanup.policy": "delete", "retention.ms": "604800000"}.get(name, "1"))


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [("cleanup.policy", "compact", "wrong"), ("retention.ms", "3600000", "warning"), ("min.insync.replicas", "2", "wrong")],
)
def test_a_topic_that_would_lose_or_refuse_records_is_named_with_the_command_that_mends_it(config, doctor, topic_setting, name, value, status):
    topic_setting(name, value)
    told = eventually("the setting is seen", 90, lambda: doctor(config, "--role", "archiver")[1].get(f"kafka: {EVENTS}"))
    assert told["status"] == status and f"--add-config {name}=" in told["todo"], told


def test_a_topic_that_is_missing_is_named(world, config, doctor):
    admin = world.kafka.admin()
    name = "telemetry.ttf.cohorts.v1"
    admin.delete_topics([name])[name].result()
    told = eventually("it is gone", 90, lambda: wrong(doctor(config, "--role", "alerter")[1]).get("kafka: topics"))
    assert name in told and "ttf topics apply" in told
    settings = {"cleanup.policy": "compact", "min.insync.replicas": "1"}
    admin.create_topics([NewTopic(name, 4, 1, config=settings)])[name].result()


def test_records_that_were_deleted_unread_are_told(world, config, doctor):
    """A group that stands still while its topic's records go."""
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{world.kafka.plain}"})
    for _ in range(10):
        producer.produce(EVENTS, b"{}", partition=1)
    producer.flush(10)
    admin = world.kafka.admin()
    at = [TopicPartition(EVENTS, 1, 1)]
    for done in admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("ttf-archiver-events", at)]).values():
        done.result()
    _, checks = doctor(config, "--role", "archiver")
    assert "is kept for another 6 d" in checks["kafka: group ttf-archiver-events"]["found"], checks
    for done in admin.delete_records([TopicPartition(EVENTS, 1, 6)]).values():
        done.result()
    told = eventually("they are gone", 90, lambda: wrong(doctor(config, "--role", "archiver")[1]).get("kafka: group ttf-archiver-events"))
    assert "records were deleted before they were read" in told
    at = [TopicPartition(EVENTS, 1, 10)]
    for done in admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions("ttf-archiver-events", at)]).values():
        done.result()


def test_rights_that_are_missing_are_named(world, config, doctor):
    """A user that may look at topics, and nothing else."""
    admin = world.kafka.admin()
    rules = [
        AclBinding(ResourceType.TOPIC, "telemetry.", ResourcePatternType.PREFIXED, "User:limited", "*", operation, AclPermissionType.ALLOW)
        for operation in (AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
    ]
    for done in admin.create_acls(rules).values():
        done.result()
    limited = changed(config, "log/properties", world.kafka_properties("limited"))
    found = eventually("the rights are there", 90, lambda: (lambda checks: checks if "kafka: may read" in checks else None)(doctor(limited, "--role", "processor")[1]))
    told = wrong(found)
    assert "telemetry.ttf.state.v1" in told["kafka: may read"], told
    assert "telemetry.ttf.records.v1" in told["kafka: may write as processor"], told
    assert "transactional ids" in told["kafka: transactions as processor"], told
    assert "grant Read and Describe on the group" in told.get("kafka: group ttf-processor", ""), found.get("kafka: group ttf-processor")


@pytest.mark.parametrize("role", ["gateway", "processor", "archiver", "alerter"])
def test_the_rights_of_the_example_are_enough_for_their_role(world, config, doctor, role):
    from confluent_kafka.admin import AclBindingFilter

    admin = world.kafka.admin()
    everything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, "User:limited", None, AclOperation.ANY, AclPermissionType.ANY)
    for done in admin.delete_acls([everything]).values():
        done.result()
    for done in admin.create_acls(rights_of(role, "limited")).values():
        done.result()
    limited = changed(config, "log/properties", world.kafka_properties("limited"))

    def allowed():
        _, checks = doctor(limited, "--role", role)
        refused.clear()
        refused.update((name, told) for name, told in wrong(checks).items() if name.startswith("kafka: "))
        return checks if not refused else None

    refused = {}
    try:
        checks = eventually(f"{role} may do what it needs", 90, allowed)
    except AssertionError:
        raise AssertionError(f"{role} may not do what it needs: {refused}") from None
    assert checks["kafka: may read"]["status"] == "ok"


@pytest.mark.parametrize(
    ("role", "resource", "check"),
    [
        ("archiver", "telemetry.events.rejected.v1", "kafka: may write as archiver"),
        ("archiver", "telemetry.ttf.cohorts.v1", "kafka: may write as archiver"),
        ("gateway", "telemetry.alerts.commands.v1", "kafka: may write as gateway"),
        ("alerter", "ttf-processor", "kafka: group ttf-processor as alerter"),
    ],
)
def test_a_single_right_that_is_missing_is_named(world, config, doctor, role, resource, check):
    from confluent_kafka.admin import AclBindingFilter

    admin = world.kafka.admin()
    everything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, "User:limited", None, AclOperation.ANY, AclPermissionType.ANY)
    for done in admin.delete_acls([everything]).values():
        done.result()
    rules = [rule for rule in rights_of(role, "limited") if rule.name != resource]
    for done in admin.create_acls(rules).values():
        done.result()
    limited = changed(config, "log/properties", world.kafka_properties("limited"))

    def alone():
        told.clear()
        told.update({name: text for name, text in wrong(doctor(limited, "--role", role)[1]).items() if name.startswith("kafka: ")})
        return list(told) == [check]

    told: dict[str, str] = {}
    try:
        eventually("that right alone is missing", 90, alone)
    except AssertionError:
        raise AssertionError(f"not that alone: {told}") from None
    assert resource in told[check] + check and "grant" in told[check], told


class Late(http.server.BaseHTTPRequestHandler):
    """A registry whose clock is a minute behind."""

    def do_GET(self):
        self.send_response_only(200)
        self.send_header("Date", formatdate(time.time() - 60, usegmt=True))
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *_):
        pass


def test_a_clock_that_is_off_is_told(config, doctor):
    server = http.server.HTTPServer(("127.0.0.1", 0), Late)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        _, checks = doctor(changed(config, "schema_registry/url", f"http://127.0.0.1:{server.server_port}"), "--role", "alerter")
    finally:
        server.shutdown()
        server.server_close()
    assert "NTP" in wrong(checks)["registry: clock"]


def test_an_authority_of_the_store_nobody_named_is_told(world, config, tmp_path):
    file = tmp_path / "telemetry.yaml"
    file.write_text(yaml.safe_dump(config))
    done = run("doctor", "--config", file, "--json", "--role", "archiver", environment={"SSL_CERT_FILE": str(world.authority.client_certificate)})
    [told] = [one for one in json.loads(done.stdout)["checks"] if (one["part"], one["check"]) == ("objects", "reachable")]
    assert told["status"] == "wrong" and "SSL_CERT_FILE" in told["todo"], told


def test_a_user_without_rights_on_the_database_is_told(world, config, doctor):
    world.postgres.psql("create role reader login password 'reader-0a1b2c'; create table if not exists events (id int)")
    try:
        url = world.postgres.url(f"?sslmode=require&sslrootcert={world.authority.ca}").replace("ttf:" + SECRETS["postgres"], "reader:reader-0a1b2c")
        _, checks = doctor(changed(config, "archive/database/url", url), "--role", "archiver")
        assert "may make no tables" in wrong(checks)["database: rights"]
    finally:
        world.postgres.psql("drop table events; drop role reader")


def test_a_wrong_configuration_ends_with_78(tmp_path):
    file = tmp_path / "telemetry.yaml"
    file.write_text("log: { kind: nothing }\n")
    assert run("doctor", "--config", file).returncode == 78


def test_a_user_who_may_read_the_archive_and_not_write_it_is_told(world, config, doctor, tmp_path):
    """The archiver has made the schema, as in production; this one was given too little of it."""
    file = tmp_path / "migrate.yaml"
    file.write_text(yaml.safe_dump(config))
    done = run("db", "migrate", "--config", file, environment=world.environment())
    assert done.returncode == 0, done.stderr
    world.postgres.psql("create role looker login password 'looker-7c6d5e'; grant select on all tables in schema public to looker")
    try:
        url = world.postgres.url(f"?sslmode=require&sslrootcert={world.authority.ca}").replace("ttf:" + SECRETS["postgres"], "looker:looker-7c6d5e")
        _, checks = doctor(changed(config, "archive/database/url", url), "--role", "archiver")
        told = wrong(checks)["database: rights"]
        assert "may not write" in told and "events" in told and "GRANT SELECT, INSERT, UPDATE, DELETE" in told, told
    finally:
        world.postgres.psql("drop owned by looker; drop role looker")


def test_a_key_that_may_read_the_bucket_and_not_write_it_is_told(world, config, doctor):
    secret = {"access_key": "looker", "secret_key": world.store.secret}
    _, checks = doctor(changed(config, "archive/s3", config["archive"]["s3"] | secret), "--role", "archiver")
    assert "s3:PutObject" in wrong(checks)["objects: reachable"], checks
