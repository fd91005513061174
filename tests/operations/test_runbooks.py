"""Every alert is provoked by what it is there for; the first look of its runbook is taken, command by command as it is
written; then what was broken is mended, and the alert goes.

Times of the rules are shortened (watch.py). For `kubectl` there is an API that knows the processes as pods (cluster.py);
ports are forwarded, and commands in pods run, by a stand-in. Where a command has one of the ports 8080 and 9464 of this machine, a free
one takes its place. Kafka's scripts are its classes.
"""

import contextlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml
from cluster import Cluster
from confluent_kafka import Consumer, Producer
from conftest import required
from servers import eventually, free_ports
from system import MILESTONES, TTF
from town import PASSWORD, Town
from watch import RULES, Watch

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs/runbooks"
KAFKA_TOOLS = {
    "kafka-consumer-groups.sh": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-topics.sh": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs.sh": "kafka.admin.ConfigCommand",
    "kafka-transactions.sh": "org.apache.kafka.tools.TransactionsCommand",
}
KUBECTL = """#!/bin/bash
case " $* " in
  *" port-forward "*)
    while [ $# -gt 2 ]; do shift; case "$1" in -n) shift;; esac; [ "$1" = port-forward ] && break; done
    exec {python} {cluster} port-forward {state} "$2" "$3";;
  *" exec "*)
    while [ "$1" != -- ]; do shift; done; shift; exec "$@";;
esac
exec {kubectl} --server={server} "$@"
"""
#: Told by every command that ends with an error.
REPORT = """
trap 'echo "FAILED: $BASH_COMMAND"' ERR
trap 'trap - ERR; for job in $(jobs -p); do kill "$job"; done' EXIT
"""


def milliseconds(ago: timedelta) -> str:
    return (datetime.now(timezone.utc) - ago).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Hook(http.server.BaseHTTPRequestHandler):
    """A receiver of alerts that answers what a test wants."""

    status = 200

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_):
        pass


class Scene:
    """The system, who watches it, and whoever looks into it."""

    def __init__(self, folder: Path):
        folder.chmod(0o755)
        self.folder, self.clean = folder, contextlib.ExitStack()
        self.hook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook)
        threading.Thread(target=self.hook.serve_forever, daemon=True).start()
        self.clean.callback(self.hook.shutdown)
        receiver = {"name": "hook", "webhook": {"url": f"http://127.0.0.1:{self.hook.server_port}/"}}
        self.town = Town(folder, {
            "gateway": {"gateway": {"reload_interval": "500ms", "ack_timeout": "5s"}},
            "alerter": {"alerter": {"receivers": [receiver], "route": {"receiver": "hook", "group_wait": "1s"}}},
        })  # fmt: skip
        self.clean.callback(self.town.stop)
        self.town.start()
        self.lock, self.down, self.over = threading.Lock(), set(), threading.Event()
        supervisor = threading.Thread(target=self._supervise, daemon=True)
        supervisor.start()
        self.clean.callback(lambda: (self.over.set(), supervisor.join(60)))
        self.watch = Watch(folder / "watch", self.town.parts)
        self.clean.callback(self.watch.stop)
        rendered = subprocess.run(
            [self.kubectl, "kustomize", ROOT / "deploy/kubernetes/overlays/production"], check=True, capture_output=True, text=True
        ).stdout
        workloads = [one for one in yaml.safe_load_all(rendered) if one and one["kind"] in {"Deployment", "StatefulSet"}]
        self.cluster = Cluster({one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["template"] for one in workloads})
        self.clean.callback(self.cluster.stop)
        self.cluster.pods = {f"telemetry-{name}": part for name, part in self.town.parts.items()}
        self._stand_ins()

    def _supervise(self):
        """Starts again what ended by itself, as a cluster does."""
        while not self.over.wait(0.5):
            with self.lock:
                for name, part in self.town.parts.items():
                    if name not in self.down and part.server.process.poll() is not None:
                        part.server.start()

    def stop(self, *names: str, how=signal.SIGTERM):
        with self.lock:
            self.down.update(names)
            for name in names:
                self.town.parts[name].stop(how)

    def start(self, *names: str):
        with self.lock:
            self.down.difference_update(names)
            for name in names:
                self.town.parts[name].server.start()
        for name in names:
            url = f"http://127.0.0.1:{self.town.parts[name].admin}/ready"
            eventually(f"{name} is ready", 120, lambda url=url: urllib.request.urlopen(url, timeout=5).status == 200)

    def restart(self, *names: str):
        self.stop(*names)
        self.start(*names)

    @property
    def kubectl(self) -> Path:
        return Path(required("TTF_DEPLOY_TOOLS")) / "kubectl"

    def _stand_ins(self):
        self.bin = self.folder / "bin"
        self.bin.mkdir()
        parts, state = self.town.parts, self.folder / "ports.json"
        state.write_text(json.dumps({
            "svc/telemetry-service:8080": self.town.ports[0],
            "sts/telemetry-processor:9464": parts["processor-0"].admin,
            "sts/telemetry-alerter:9464": parts["alerter"].admin,
            "deploy/telemetry-archiver:9464": parts["archiver"].admin,
        }))  # fmt: skip
        text = KUBECTL.format(
            python=sys.executable, cluster=Path(__file__).with_name("cluster.py"), state=state, kubectl=self.kubectl, server=self.cluster.url
        )
        scripts = {"kubectl": text}
        for name, of in KAFKA_TOOLS.items():
            scripts[name] = "#!/bin/sh\nexec " + " ".join(f"'{part}'" for part in self.town.kafka.java) + f' {of} "$@"\n'
        for name, text in scripts.items():
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)
        (self.bin / "ttf").symlink_to(TTF)

    def look(self, alert: str, **values: str) -> str:
        """Takes the first look of a runbook; what it shows. Commands that fail are told."""
        text = (RUNBOOKS / f"{alert}.md").read_text()
        [commands] = re.findall(r"## First look\n```sh\n(.*?)```", text, re.S)
        for port in set(re.findall(r"localhost:(\d+)", commands)):
            (free,) = free_ports(1)
            commands = commands.replace(f"{port}:{port}", f"{free}:{port}").replace(f"localhost:{port}", f"localhost:{free}")
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        (work / "ttf.yaml").write_text(self.town.parts["processor-0"].config.read_text())
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tls", "-keyout", "tls.key", "-out", "tls.crt"],
                       cwd=work, check=True, capture_output=True)  # fmt: skip
        environment = {
            "PATH": f"{self.bin}:{required('TTF_DEPLOY_TOOLS')}:{os.environ['PATH']}",
            "HOME": str(work),
            "PROMETHEUS": self.watch.url,
            "BROKERS": f"127.0.0.1:{self.town.kafka.plain}",
            "TELEMETRY_URL": f"http://127.0.0.1:{self.town.ports[0]}",
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(self.town.redis.port),
            "REDIS_PASSWORD": PASSWORD,
            **values,
        }
        done = subprocess.run(
            ["bash", "-c", REPORT + commands], cwd=work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
        )
        return done.stdout

    def send(self, *events: dict, port: int = 0) -> dict:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.town.ports[port]}/api/v1/events", json.dumps({"events": events}).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as refused:
            return json.loads(refused.read())

    def accept(self, event: dict):
        """Sends it until it is taken: a busy broker may be late to acknowledge."""
        event = {"event_id": uuid.uuid4().hex, **event}
        eventually("the event is taken", 90, lambda: (told := self.send(event))["accepted"] + told["duplicate"] == 1)

    def is_firing(self, alert: str) -> bool:
        return alert in self.watch.firing()


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    scene = Scene(tmp_path_factory.mktemp("scene"))
    with scene.clean:
        yield scene


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
        eventually("it was loud", 30, lambda: time.monotonic() > silent_after)
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
        eventually("Redis is back", 30, lambda: scene.town.redis.cli("ping") == "PONG")


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


def test_every_alert_is_provoked():
    alerts = {rule["alert"] for file in RULES.glob("*.yml") for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"] if "alert" in rule}
    assert {alert for fault in FAULTS.values() for alert in fault.shows} == alerts


@pytest.mark.parametrize("name", FAULTS)
def test_an_alert_comes_its_first_look_shows_why_and_it_goes_when_that_is_mended(scene, name):
    fault = FAULTS[name]
    for alert in fault.shows:
        eventually(f"{alert} is quiet before", 90, lambda alert=alert: not scene.is_firing(alert))
    broken = fault.breaks(scene)
    values = broken.__enter__()
    try:
        for alert in fault.shows:
            eventually(f"{alert} fires", 90, lambda alert=alert: scene.is_firing(alert))
        for alert, shows in fault.shows.items():
            told = scene.look(alert, **values)
            assert re.search(shows, told), f"{alert}: its first look does not show {shows!r}:\n{told[-6000:]}"
            failed = [line for line in re.findall(r"^FAILED: (.*)$", told, re.M) if not re.search(fault.fails, line)]
            assert failed == [], f"{alert}:\n{told[-6000:]}"
    finally:
        # Mended whatever was found: the next one stands on it.
        broken.__exit__(None, None, None)
    for alert in fault.shows:
        eventually(f"{alert} goes", 90, lambda alert=alert: not scene.is_firing(alert))


def test_the_whole_journey_still_works_after_all_of_it(scene):
    """What was broken is whole again: a user's events go all the way."""
    load = scene.town.load()
    user = f"after-{uuid.uuid4().hex}"
    load.user(user)
    assert len(load.accepted) == len(MILESTONES)
    done = f"select count(*) from v_user_journeys where user_id = '{user}' and status = 'completed'"
    eventually("the journey is complete", 90, lambda: scene.town.postgres.psql(done) == "1")
