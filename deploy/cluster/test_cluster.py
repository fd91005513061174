"""deploy/ on a real control plane (etcd, API server, controllers), and the commands the documentation tells to scale, update
and take back. There is no node: this plays the kubelet, and says of every pod that it runs and is ready."""

import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = ROOT / "deploy/kubernetes/overlays/production"
COMPONENTS = ("prometheus-operator", "external-secrets", "processor-on-lag", "gateway-request-rate")
TOKEN = "operator-of-a-test"
#: Of what comes by itself, nothing but what a cluster without nodes needs.
CONTROLLERS = "*,-nodeipam,-node-lifecycle-controller,-service-lb-controller,-cloud-node-lifecycle-controller"


def required(name: str) -> Path:
    value = os.environ.get(name)
    if not value:
        raise RuntimeError(f"{name} is not set; run scripts/test-cluster.sh")
    return Path(value)


def eventually(what: str, condition, seconds: float = 120):
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            if found := condition():
                return found
        except (subprocess.CalledProcessError, OSError) as error:
            last = getattr(error, "stderr", error)
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds} s ({last})")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Cluster:
    """A control plane, and a kubelet that believes everything."""

    def __init__(self, folder: Path):
        self.folder, self.processes, self.over = folder, [], threading.Event()
        etcd, peers, self.port = free_ports(3)
        tools, store = required("TTF_CLUSTER"), f"http://127.0.0.1:{etcd}"
        subprocess.run(["openssl", "genrsa", "-out", folder / "accounts.key", "2048"], check=True, capture_output=True)
        (folder / "tokens").write_text(f'{TOKEN},operator,1,"system:masters"\n')
        users = {
            "clusters": [{"name": "it", "cluster": {"server": f"https://127.0.0.1:{self.port}", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "operator", "user": {"token": TOKEN}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "operator"}}],
        }
        self.config = folder / "kubeconfig"
        self.config.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "it", **users}))
        peer = f"http://127.0.0.1:{peers}"
        self._run(tools / "etcd", "--data-dir", folder / "etcd", "--listen-client-urls", store, "--advertise-client-urls", store,
                  "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}")  # fmt: skip
        self._run(tools / "kube-apiserver", "--etcd-servers", store, "--secure-port", self.port, "--bind-address", "127.0.0.1",
                  "--cert-dir", folder / "certificates", "--service-account-issuer", "https://kubernetes.default.svc",
                  "--service-account-key-file", folder / "accounts.key", "--service-account-signing-key-file", folder / "accounts.key",
                  "--service-cluster-ip-range", "10.0.0.0/16", "--authorization-mode", "RBAC", "--token-auth-file", folder / "tokens")  # fmt: skip
        eventually("the API server is ready", lambda: self.kubectl("get", "--raw", "/readyz") == "ok")
        self._run(tools / "kube-controller-manager", "--kubeconfig", self.config, "--service-account-private-key-file",
                  folder / "accounts.key", "--use-service-account-credentials", "--leader-elect=false", "--secure-port", 0,
                  f"--controllers={CONTROLLERS}")  # fmt: skip
        self.kubelet = threading.Thread(target=self._kubelet, daemon=True)
        self.kubelet.start()

    def _run(self, program: Path, *arguments: object):
        with (self.folder / f"{program.name}.log").open("w") as log:
            self.processes.append(subprocess.Popen([str(part) for part in (program, *arguments)], stdout=log, stderr=log))

    def kubectl(self, *arguments: object, told: str | None = None) -> str:
        command = [required("TTF_DEPLOY_TOOLS") / "kubectl", f"--kubeconfig={self.config}", *arguments]
        run = subprocess.run([str(part) for part in command], input=told, capture_output=True, text=True, timeout=120, check=True)
        # Warnings of admission come here.
        assert "Warning" not in run.stderr, run.stderr
        return run.stdout

    def get(self, *what: str) -> dict:
        return json.loads(self.kubectl("get", "-n", "telemetry", *what, "-o", "json"))

    def _kubelet(self):
        while not self.over.wait(0.2):
            with contextlib.suppress(subprocess.CalledProcessError):
                for pod in json.loads(self.kubectl("get", "pods", "-A", "-o", "json"))["items"]:
                    self._keep(pod)

    def _keep(self, pod: dict):
        name, about = pod["metadata"]["name"], ("-n", pod["metadata"]["namespace"])
        is_job = pod["spec"]["restartPolicy"] == "OnFailure"
        with contextlib.suppress(subprocess.CalledProcessError):
            if "deletionTimestamp" in pod["metadata"]:
                self.kubectl("delete", "pod", name, *about, "--grace-period=0", "--force", "--wait=false")
            elif pod["status"]["phase"] == "Pending":
                ready = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
                status = {"phase": "Succeeded"} if is_job else {"phase": "Running", "conditions": ready}
                self.kubectl("patch", "pod", name, *about, "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))

    def images(self, component: str) -> list[str]:
        """Of the pods of a component, in the order of their names."""
        pods = self.get("pods", "-l", f"app=telemetry,app.kubernetes.io/component={component}")["items"]
        alive = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        return [pod["spec"]["containers"][0]["image"] for pod in sorted(alive, key=lambda pod: pod["metadata"]["name"])]

    def pods(self, component: str) -> list[str]:
        pods = self.get("pods", "-l", f"app=telemetry,app.kubernetes.io/component={component}")["items"]
        return sorted(pod["metadata"]["name"] for pod in pods)

    def stop(self):
        self.over.set()
        self.kubelet.join(30)
        for process in reversed(self.processes):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        schemas = required("TTF_OPERATOR_SCHEMAS")
        cluster.kubectl("apply", "--server-side", "-f", schemas)
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def production(cluster, tmp_path_factory):
    """Production with every component, as `kubectl apply -k` makes it."""
    folder = tmp_path_factory.mktemp("everything").resolve()
    kubernetes = Path(os.path.relpath(ROOT / "deploy/kubernetes", folder))
    kustomization = {
        "resources": [str(kubernetes / "overlays/production")],
        "components": [str(kubernetes / "components" / name) for name in COMPONENTS],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    cluster.kubectl("apply", "-k", folder)
    cluster.kubectl("rollout", "status", "-n", "telemetry", "deployment/telemetry-gateway", "--timeout=120s")
    return cluster


def test_what_is_misspelt_is_refused_by_the_server(cluster):
    monitor = (ROOT / "deploy/kubernetes/components/prometheus-operator/podmonitor.yaml").read_text()
    cluster.kubectl("create", "namespace", "misspelt")
    right = monitor.replace("namespace: telemetry", "namespace: misspelt")
    cluster.kubectl("apply", "--dry-run=server", "-f", "-", told=right)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", told=right.replace("interval:", "intervall:"))
    assert "intervall" in refused.value.stderr


def test_production_is_taken_and_every_pod_is_admitted(production):
    """The namespace admits nothing but restricted pods; the controllers make all that are asked for."""
    counts = {"gateway": 3, "processor": 3, "archiver": 2, "alerter": 2}
    eventually("all pods are there", lambda: {name: len(production.pods(name)) for name in counts} == counts)
    assert production.pods("processor") == [f"telemetry-processor-{number}" for number in range(3)]
    assert len(production.get("endpointslices", "-l", "kubernetes.io/service-name=telemetry-service")["items"]) == 1
    job = lambda: production.get("job", "telemetry-topics")["status"].get("succeeded") == 1  # noqa: E731
    eventually("the topics' job is done", job)
    shown = production.kubectl("get", "pods", "-n", "telemetry", "-l", "app=telemetry")
    assert shown.count("Running") == sum(counts.values())


def test_a_pod_that_is_not_restricted_is_refused(production):
    spec = {"containers": [{"name": "it", "image": "it"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "free", "namespace": "telemetry"}, "spec": spec}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        production.kubectl("apply", "-f", "-", told=json.dumps(pod))
    assert "violates PodSecurity" in refused.value.stderr


def test_a_processor_is_scaled_by_hand_and_keeps_its_volumes(production):
    for count in (5, 2, 3):
        production.kubectl("-n", "telemetry", "scale", "statefulset", "telemetry-processor", f"--replicas={count}")
        wanted = [f"telemetry-processor-{number}" for number in range(count)]
        eventually(f"{count} processors run", lambda wanted=wanted: production.pods("processor") == wanted)
    claims = {claim["metadata"]["name"] for claim in production.get("pvc")["items"]}
    assert {f"state-telemetry-processor-{number}" for number in range(5)} <= claims
    production.kubectl("-n", "telemetry", "scale", "deployment", "telemetry-gateway", "--replicas=4")
    eventually("4 gateways run", lambda: len(production.pods("gateway")) == 4)


@pytest.mark.parametrize(
    ("kind", "component"),
    [("deployment", "gateway"), ("deployment", "archiver"), ("statefulset", "processor"), ("statefulset", "alerter")],
)
def test_an_update_goes_through_and_is_taken_back(production, kind, component):
    name = f"{kind}/telemetry-{component}"
    before = production.images(component)
    production.kubectl("-n", "telemetry", "set", "image", name, "ttf=registry.example.com/ttf:next")
    production.kubectl("-n", "telemetry", "rollout", "status", name, "--timeout=120s")
    eventually("the next one runs", lambda: production.images(component) == ["registry.example.com/ttf:next"] * len(before))
    production.kubectl("-n", "telemetry", "rollout", "undo", name)
    production.kubectl("-n", "telemetry", "rollout", "status", name, "--timeout=120s")
    eventually("the one before runs", lambda: production.images(component) == before)


def test_an_evicted_pod_leaves_enough(production):
    """A drain of nodes takes one gateway at a time."""
    budget = eventually(
        "the budget is worked out", lambda: production.get("pdb", "telemetry-gateway")["status"].get("disruptionsAllowed") == 1
    )
    assert budget
    pods = production.pods("gateway")
    evict = lambda pod: production.kubectl(  # noqa: E731
        "create", "--raw", f"/api/v1/namespaces/telemetry/pods/{pod}/eviction", "-f", "-",
        told=json.dumps({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": "telemetry"}}),
    )  # fmt: skip
    evict(pods[0])
    eventually("another takes its place", lambda: len(production.pods("gateway")) == len(pods) and pods[0] not in production.pods("gateway"))


def test_dev_is_taken_too(production):
    """After production, whose namespace goes."""
    production.kubectl("delete", "namespace", "telemetry", "--wait=true", "--timeout=120s")
    production.kubectl("apply", "-k", ROOT / "deploy/kubernetes/overlays/dev")
    counts = {"gateway": 1, "processor": 1, "archiver": 1, "alerter": 1}
    eventually("all pods are there", lambda: {name: len(production.pods(name)) for name in counts} == counts)
