"""TLS and passwords to every server, and secrets that show nowhere."""

import signal
from pathlib import Path

import pytest
import yaml
from conftest import SECRETS
from servers import eventually
from system import MILESTONES, Load, Process, run


def plan(world, tmp_path, properties: dict[str, str], listener: int):
    config = tmp_path / "telemetry.yaml"
    config.write_text(yaml.safe_dump({"log": {"kind": "kafka", "brokers": f"127.0.0.1:{listener}", "properties": properties}}))
    return run("doctor", "--config", config, "--role", "alerter", "--timeout", "6s")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_kafka_with_tls_and_a_password(world, tmp_path, mechanism):
    done = plan(world, tmp_path, world.kafka_properties(mechanism=mechanism), world.kafka.sasl)
    assert "ok       kafka: reachable" in done.stdout, done.stdout + done.stderr
    assert "sasl_ssl" in done.stdout


def test_kafka_with_certificates_on_both_sides(world, tmp_path):
    done = plan(world, tmp_path, world.mtls_properties(), world.kafka.mtls)
    assert "ok       kafka: reachable" in done.stdout, done.stdout + done.stderr


REFUSALS = {
    "another password": ({"sasl.password": "guessed-5e1f"}, "compare `sasl.mechanism`"),
    "an authority that is not named": ({"ssl.ca.location": None}, "ssl.ca.location"),
    "no TLS where there is TLS": ({"security.protocol": "SASL_PLAINTEXT"}, "security.protocol"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_kafka_that_refuses_says_why_and_what_to_do(world, tmp_path, name):
    change, todo = REFUSALS[name]
    properties = {key: value for key, value in {**world.kafka_properties(), **change}.items() if value is not None}
    done = plan(world, tmp_path, properties, world.kafka.sasl)
    assert done.returncode == 1
    assert "WRONG    kafka: reachable" in done.stdout and todo in done.stdout, done.stdout
    assert [value for value in (*SECRETS.values(), "guessed-5e1f") if value in done.stdout + done.stderr] == []


def test_kafka_that_wants_a_certificate_says_so(world, tmp_path):
    properties = {name: world.mtls_properties()[name] for name in ("security.protocol", "ssl.ca.location")}
    done = plan(world, tmp_path, properties, world.kafka.mtls)
    assert done.returncode == 1 and "WRONG    kafka: reachable" in done.stdout, done.stdout
    assert "certificate" in done.stdout, done.stdout


@pytest.fixture(scope="module")
def secured(world, tmp_path_factory):
    """All roles in one process, on servers that take nothing without TLS and a password."""
    folder = tmp_path_factory.mktemp("secured")
    config = world.config(service={"log_level": "debug"})
    config["archive"]["rotation"] = {"interval": "1s"}
    (folder / "apply.yaml").write_text(yaml.safe_dump(config))
    done = run("topics", "apply", "--config", folder / "apply.yaml", environment=world.environment())
    assert done.returncode == 0, done.stderr
    process = Process("all", folder, config, world.environment())
    try:
        process.ready()
        yield process, int(config["gateway"]["listen"].split(":")[1])
    finally:
        process.stop()


def test_events_go_all_the_way_with_tls_to_every_server(world, secured):
    _, gateway = secured
    load = Load([gateway])
    load.user("secured-1")
    assert load.answers == {"2xx": len(MILESTONES)}
    eventually("the journey is in the database", 90, lambda: world.postgres.psql("select count(*) from journeys where user_id = 'secured-1'") == "1")
    eventually("the journey is in Redis", 90, lambda: world.redis.cli("--scan", "--pattern", "ttf:live*"))
    eventually("the event is in the object store", 60, lambda: ".parquet" in world.store.ask("GET", "?list-type=2"))
    plain = "select count(*) from pg_stat_ssl join pg_stat_activity using (pid) where application_name like 'ttf%' and not ssl"
    assert world.postgres.psql(plain) == "0"


def test_secrets_show_nowhere_also_when_servers_refuse(world, secured):
    """Redis ends, PostgreSQL takes the password no more: errors are logged, and health tells them."""
    process, gateway = secured
    pid = process.server.process.pid
    world.redis.server.stop(signal.SIGKILL)
    world.postgres.psql("alter user ttf password 'another'; select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'ttf%'")
    Load([gateway]).user("secured-2")
    eventually("the refusal is told", 60, lambda: "28P01" in process.get("/health") + process.log)
    shown = process.log + Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    for path in ("/health", "/live", "/ready", "/metrics"):
        shown += process.get(path)
    assert "ttf_build_info" in shown
    assert [name for name, value in SECRETS.items() if value in shown] == []
