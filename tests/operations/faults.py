"""What the alerts are there for, each done to a running system, and mended."""

import contextlib
import signal
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import yaml
from confluent_kafka import Consumer, Producer
from scene import ROOT, Hook
from servers import eventually


def milliseconds(ago: timedelta) -> str:
    return (datetime.now(timezone.utc) - ago).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class Fault:
    """Something that breaks, what is told of it, and what the first look then shows."""

    breaks: object
    #: Alert -> words of the output of its first look.
    shows: dict[str, str]
    #: Commands of a first look that cannot work while this is broken.
    fails: str = "$^"


@contextlib.contextmanager
def no_gateway_runs(scene):
    scene.stop("gateway-0", "gateway-1")
    yield {"POD": "telemetry-gateway-0"}
    scene.start("gateway-0", "gateway-1")


@contextlib.contextmanager
def no_processor_and_no_alerter_runs(scene):
    scene.stop("processor-0", "processor-1", "alerter", how=signal.SIGKILL)
    yield {}
    scene.start("processor-0", "processor-1", "alerter")


@contextlib.contextmanager
def the_broker_hangs(scene):
    broker = scene.town.kafka.server.process
    with scene.town.load() as load:
        eventually("the load runs", 60, lambda: len(load.users) > 10)
        broker.send_signal(signal.SIGSTOP)
        try:
            yield {}
        finally:
            broker.send_signal(signal.SIGCONT)
        before = len(load.users)
        eventually("the load goes on", 90, lambda: len(load.users) > before + 10)


@contextlib.contextmanager
def the_database_is_away(scene):
    with scene.town.load() as load:
        eventually("the load runs", 60, lambda: len(load.users) > 10)
        scene.town.postgres.stop()
        yield {}
        scene.town.postgres.server.start()
        scene.town.postgres.ready()


@contextlib.contextmanager
def the_database_was_away(scene):
    with scene.town.load() as load:
        eventually("the load runs", 60, lambda: len(load.users) > 10)
        scene.town.postgres.stop()
        eventually("events wait", 60, lambda: scene.is_firing("TtfConsumerBehind"))
        scene.town.postgres.server.start()
        scene.town.postgres.ready()
        yield {}
        # It goes on by itself; what comes from now on is in time.
        eventually("events are in time again", 90, lambda: not scene.is_firing("TtfFreshnessBudgetFast"))


@contextlib.contextmanager
def a_topic_is_kept_for_an_hour(scene):
    """Who reads it starts again after each change: a process asks for the retention every few minutes alone."""
    topic = "telemetry.ttf.breaches.v1"
    configs = [scene.bin / "kafka-configs.sh", "--bootstrap-server", f"127.0.0.1:{scene.town.kafka.plain}", "--alter", "--topic", topic]
    subprocess.run([*configs, "--add-config", "retention.ms=3600000"], check=True, capture_output=True)
    scene.restart("archiver", "alerter")
    yield {"TOPIC": topic}
    subprocess.run([*configs, "--add-config", "retention.ms=1209600000"], check=True, capture_output=True)
    scene.restart("archiver", "alerter")


@contextlib.contextmanager
def somebody_else_uses_the_processors_names(scene):
    """Each time, the worker that had the name finds its transaction taken away."""
    over = threading.Event()

    def take():
        while not over.is_set():
            for number in range(2):
                producer = Producer({"bootstrap.servers": f"127.0.0.1:{scene.town.kafka.plain}", "transactional.id": f"ttf-processor-{number}-0"})
                producer.init_transactions(10)
            over.wait(0.5)

    with scene.town.load() as load:
        eventually("the load runs", 60, lambda: len(load.users) > 10)
        taker = threading.Thread(target=take, daemon=True)
        taker.start()
        try:
            yield {}
        finally:
            over.set()
            taker.join(60)


@contextlib.contextmanager
def members_come_and_go(scene):
    """Somebody reads with the processors' group, again and again for a moment."""
    over = threading.Event()
    settings = {"bootstrap.servers": f"127.0.0.1:{scene.town.kafka.plain}", "group.id": "ttf-processor", "session.timeout.ms": 10_000}

    def visit():
        while not over.is_set():
            visitor, joined = Consumer(settings), threading.Event()
            visitor.subscribe(["telemetry.events.v1", "telemetry.privacy.erasures.v1"], on_assign=lambda *_: joined.set())
            while not joined.is_set() and not over.is_set():
                visitor.poll(0.1)
            visitor.close()

    visits = threading.Thread(target=visit, daemon=True)
    visits.start()
    try:
        yield {}
    finally:
        over.set()
        visits.join(60)


@contextlib.contextmanager
def a_transaction_on_the_changelog_is_never_ended(scene):
    topic = "telemetry.ttf.state.v1"
    bootstrap = f"127.0.0.1:{scene.town.kafka.plain}"
    stranger = Producer({"bootstrap.servers": bootstrap, "transactional.id": f"stranger-{uuid.uuid4().hex}", "transaction.timeout.ms": 600_000})
    stranger.init_transactions(30)
    stranger.begin_transaction()
    places = []
    for partition in range(4):
        stranger.produce(topic, b"", key=b"nobody", partition=partition, on_delivery=lambda _, told: places.append((told.partition(), told.offset())))
    stranger.flush(30)
    scene.stop("processor-0")
    with scene.lock:
        scene.down.discard("processor-0")
    yield {}
    for partition, offset in places:
        aborted = subprocess.run(
            [scene.bin / "kafka-transactions.sh", "--bootstrap-server", bootstrap, "abort", "--topic", topic,
             "--partition", str(partition), "--start-offset", str(offset)], capture_output=True, text=True)  # fmt: skip
        assert aborted.returncode == 0, aborted.stdout + aborted.stderr
    scene.restart("processor-0")


@contextlib.contextmanager
def somebody_writes_what_is_no_event(scene):
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{scene.town.kafka.plain}"})
    producer.produce("telemetry.events.v1", b"no event", key=b"default\x1fu\x1fnobody")
    producer.flush(10)
    yield {}


@contextlib.contextmanager
def a_sender_breaks_the_rules(scene):
    over = threading.Event()

    def send():
        while not over.is_set():
            with contextlib.suppress(OSError):
                scene.send(*[{"event_name": "signup", "event_type": "trick", "user_id": "u"}] * 10)
            over.wait(0.2)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    try:
        yield {}
    finally:
        over.set()
        sender.join(30)


@contextlib.contextmanager
def senders_fall_silent(scene):
    with scene.town.load() as load:
        eventually("the load runs", 60, lambda: len(load.users) > 20)
        silent_after = time.monotonic() + 10
        eventually("it was loud", 90, lambda: time.monotonic() > silent_after)
    yield {}
    with scene.town.load():
        eventually("senders are back", 60, lambda: not scene.is_firing("TtfEventsStopped"))


@contextlib.contextmanager
def keys_are_changed_by_a_slip(scene):
    files = [scene.town.parts[f"gateway-{number}"].config for number in range(2)]
    before = [file.read_text() for file in files]
    for file, text in zip(files, before):
        file.write_text(text + "tenants: { default: { keys: [{ nmae: web }] } }\n")
    yield {}
    for file, text in zip(files, before):
        file.write_text(text)


@contextlib.contextmanager
def the_address_of_a_receiver_is_gone(scene):
    Hook.status = 404
    signup = {"event_name": "signup", "event_type": "track", "user_id": f"late-{uuid.uuid4().hex}", "timestamp": milliseconds(timedelta(minutes=100))}
    scene.accept(signup)
    yield {}
    Hook.status = 200
    scene.restart("alerter")


@contextlib.contextmanager
def redis_is_away(scene):
    with scene.town.load() as load:
        eventually("the load runs", 60, lambda: len(load.users) > 10)
        scene.town.redis.server.stop(signal.SIGKILL)
        yield {}
        scene.town.redis.server.start()
        eventually("Redis is back", 90, lambda: scene.town.redis.cli("ping") == "PONG")


@contextlib.contextmanager
def a_version_of_a_journey_is_removed_while_users_are_on_it(scene):
    parts = [scene.town.parts[f"processor-{number}"] for number in range(2)]
    before = [part.config.read_text() for part in parts]
    signup = {"event_name": "signup", "event_type": "track", "user_id": f"resting-{uuid.uuid4().hex}"}
    scene.accept(signup)
    defaults = yaml.safe_load((ROOT / "config/telemetry.yaml").read_text())["journeys"]

    def restart(journeys: list[dict]):
        for part, text in zip(parts, before):
            part.config.write_text(text + yaml.safe_dump({"journeys": journeys}))
        scene.restart("processor-0", "processor-1")

    start = datetime.now(timezone.utc) + timedelta(seconds=30)
    second = {**defaults[0], "version": 2, "effective_from": start.strftime("%FT%TZ")}
    restart([*defaults, second])
    eventually("the second version is in force", 60, lambda: datetime.now(timezone.utc) > start)
    restart([second])
    yield {}
    restart([*defaults, second])


FAULTS = {
    "no gateway runs": Fault(
        no_gateway_runs,
        {"TtfGatewayDown": r"telemetry-gateway-0 .*(Failed|Error)", "TtfProcessDown": r"telemetry-gateway-0 .*(Failed|Error)"},
        fails="curl -si",
    ),
    "no processor and no alerter runs": Fault(
        no_processor_and_no_alerter_runs,
        {"TtfPartitionsWithoutOwner": "ttf-processor", "TtfAlerterPartitionsWithoutOwner": "ttf-alerter"},
    ),
    "the broker hangs": Fault(
        the_broker_hangs,
        {"TtfWorkerHangs": r"worker=", "TtfIngestBudgetFast": r'code="503"', "TtfIngestBudgetSlow": r'code="503"'},
    ),
    "the database is away": Fault(the_database_is_away, {"TtfConsumerBehind": "ttf-archiver-events"}),
    "the database was away": Fault(
        the_database_was_away, {"TtfFreshnessBudgetFast": "archive database", "TtfFreshnessBudgetSlow": "sink="}
    ),
    "a topic is kept for an hour": Fault(a_topic_is_kept_for_an_hour, {"TtfRetentionHeadroomLow": "retention.ms=3600000"}),
    "somebody else uses the processors' names": Fault(
        somebody_else_uses_the_processors_names, {"TtfTransactionsRolledBack": "fenced"}
    ),
    "members come and go": Fault(members_come_and_go, {"TtfRebalancesAgainAndAgain": "partitions are assigned"}),
    "a transaction on the changelog is never ended": Fault(
        a_transaction_on_the_changelog_is_never_ended, {"TtfRestoreStandsStill": "stranger-.*Ongoing"}
    ),
    "somebody writes what is no event": Fault(somebody_writes_what_is_no_event, {"TtfRecordsSetAside": "telemetry.events.v1"}),
    "a sender breaks the rules": Fault(a_sender_breaks_the_rules, {"TtfEventsRejected": "reason="}),
    "senders fall silent": Fault(senders_fall_silent, {"TtfEventsStopped": "HTTP/1.1 (202|503)"}),
    "keys are changed by a slip": Fault(keys_are_changed_by_a_slip, {"TtfConfigurationRefused": "keys and limits stay as they were"}),
    "the address of a receiver is gone": Fault(the_address_of_a_receiver_is_gone, {"TtfNotificationsFail": "404"}),
    "Redis is away": Fault(redis_is_away, {"TtfSharedMemoryAway": "Connection refused"}, fails="redis-cli|kubectl -n telemetry exec"),
    "a version of a journey is removed while users are on it": Fault(
        a_version_of_a_journey_is_removed_while_users_are_on_it, {"TtfJourneysResting": 'version="1"'}
    ),
}
