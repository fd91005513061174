"""Kubernetes objects as `kubectl kustomize` makes them, and a small model of what NetworkPolicies let through."""

import ipaddress
import os
import subprocess
from dataclasses import dataclass, field
from functools import cache

import yaml
from conftest import DEPLOY

OVERLAYS = ("dev", "production")


@cache
def built(folder: str) -> list[dict]:
    """The objects of a folder below deploy/kubernetes."""
    run = subprocess.run(
        [f"{os.environ['TTF_DEPLOY_TOOLS']}/kubectl", "kustomize", str(DEPLOY / "kubernetes" / folder)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return [item for item in yaml.safe_load_all(run.stdout) if item]


def of(items: list[dict], *kinds: str) -> list[dict]:
    return [item for item in items if item["kind"] in kinds]


def one(items: list[dict], kind: str, name: str) -> dict:
    [item] = [item for item in of(items, kind) if item["metadata"]["name"] == name]
    return item


def workloads(items: list[dict]) -> list[dict]:
    return of(items, "Deployment", "StatefulSet", "Job")


def template(workload: dict) -> dict:
    return workload["spec"]["template"]


def container(workload: dict) -> dict:
    [only] = template(workload)["spec"]["containers"]
    return only


def matches(selector: dict, labels: dict) -> bool:
    assert set(selector) <= {"matchLabels"}, "only matchLabels is understood here"
    return selector.get("matchLabels", {}).items() <= labels.items()


@dataclass(frozen=True)
class End:
    """One end of a connection: a pod in a namespace, or an address outside."""

    name: str
    labels: dict = field(default_factory=dict, hash=False, compare=False)
    namespace: str = "telemetry"
    namespace_labels: dict = field(default_factory=dict, hash=False, compare=False)
    address: str | None = None
    named_ports: dict = field(default_factory=dict, hash=False, compare=False)


def _peer(peer: dict, end: End) -> bool:
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        inside = lambda net: ipaddress.ip_address(end.address) in ipaddress.ip_network(net)  # noqa: E731
        return end.address is not None and inside(block["cidr"]) and not any(map(inside, block.get("except", [])))
    if end.address is not None:
        return False
    if "namespaceSelector" in peer:
        labels = {"kubernetes.io/metadata.name": end.namespace, **end.namespace_labels}
        if not matches(peer["namespaceSelector"], labels):
            return False
    elif end.namespace != "telemetry":
        return False
    return matches(peer.get("podSelector", {}), end.labels)


def _allowed(policies: list[dict], direction: str, subject: End, other: End, target: End, protocol: str, port: int) -> bool:
    chosen = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]["policyTypes"] and matches(policy["spec"]["podSelector"], subject.labels)
    ]
    if not chosen:
        return True
    rules = [rule for spec in chosen for rule in spec.get(direction.lower(), [])]
    for rule in rules:
        ports = [
            (entry["protocol"], target.named_ports.get(entry["port"]) if isinstance(entry["port"], str) else entry["port"])
            for entry in rule["ports"]
        ]
        peers = rule["from" if direction == "Ingress" else "to"]
        if (protocol, port) in ports and any(_peer(peer, other) for peer in peers):
            return True
    return False


def connects(policies: list[dict], source: End, target: End, protocol: str, port: int) -> bool:
    """Whether a connection gets through, as far as the policies of `telemetry` decide it."""
    inside = lambda end: end.namespace == "telemetry" and end.address is None  # noqa: E731
    if inside(source) and not _allowed(policies, "Egress", source, target, target, protocol, port):
        return False
    return not inside(target) or _allowed(policies, "Ingress", target, source, target, protocol, port)
