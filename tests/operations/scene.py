"""A system that is watched, and whoever looks into it as a runbook says."""

import contextlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import uuid
from pathlib import Path

import yaml
from cluster import Cluster
from conftest import required
from servers import eventually, free_ports
from system import TTF
from town import PASSWORD, Town
from watch import Watch

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
