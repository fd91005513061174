"""The manifests: valid for two versions of Kubernetes, consistent with each other, and with what the program takes."""

import copy
import os
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from conftest import DEPLOY, ROOT
from kube import OVERLAYS, End, built, connects, container, of, one, template, workloads
from operators import mistakes, strimzi_mistakes

ROLES = ("gateway", "processor", "archiver", "alerter")
VERSIONS = ("1.33", "1.36")
EXAMPLES = DEPLOY / "kubernetes/examples"
#: Kinds whose schemas come with operators, not with Kubernetes.
FOREIGN = {"PodMonitor", "PrometheusRule", "ExternalSecret", "ScaledObject"}

overlays = pytest.mark.parametrize("overlay", [f"overlays/{name}" for name in OVERLAYS])


@overlays
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(overlay, version):
    for item in built(overlay):
        if item["kind"] not in FOREIGN:
            kubernetes_validate.validate(item, version, strict=True)


def test_the_schemas_find_mistakes():
    broken = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": {"prots": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, "1.36", strict=True)


@overlays
def test_everything_is_in_the_namespace_and_labelled(overlay):
    for item in built(overlay):
        if item["kind"] not in {"Namespace", "PriorityClass"}:
            assert item["metadata"]["namespace"] == "telemetry", item["metadata"]["name"]
        assert item["metadata"]["labels"]["app"] == "telemetry", item["metadata"]["name"]
    for workload in workloads(built(overlay)):
        labels = template(workload)["metadata"]["labels"]
        assert labels["app"] == "telemetry"
        assert labels["app.kubernetes.io/component"] in {*ROLES, "topics"}


@overlays
def test_selectors_select_and_ports_exist(overlay):
    items = built(overlay)
    pods = [template(workload) for workload in workloads(items)]

    def selected(labels: dict) -> list[dict]:
        return [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]

    for workload in of(items, "Deployment", "StatefulSet"):
        assert selected(workload["spec"]["selector"]["matchLabels"]) == [template(workload)]
        for spread in template(workload)["spec"]["topologySpreadConstraints"]:
            assert selected(spread["labelSelector"]["matchLabels"]) == [template(workload)]
    for service in of(items, "Service"):
        [pod] = selected(service["spec"]["selector"])
        names = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
        for port in service["spec"]["ports"]:
            assert names[port["targetPort"]] == port["port"]
    for budget in of(items, "PodDisruptionBudget"):
        assert len(selected(budget["spec"]["selector"]["matchLabels"])) == 1
    for stateful in of(items, "StatefulSet"):
        assert one(items, "Service", stateful["spec"]["serviceName"])["spec"]["clusterIP"] == "None"


def test_the_front_door_is_what_operators_are_told():
    items = built("overlays/production")
    service = one(items, "Service", "telemetry-service")
    assert service["spec"]["selector"] == {"app": "telemetry", "app.kubernetes.io/component": "gateway"}
    assert [port["port"] for port in service["spec"]["ports"]] == [8080]
    gateway = one(items, "Deployment", "telemetry-gateway")
    assert gateway["spec"]["replicas"] == 3
    [scaler] = of(items, "HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "telemetry-gateway"
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 10)
    assert {metric["resource"]["name"] for metric in scaler["spec"]["metrics"]} == {"cpu", "memory"}
    assert {of_kind["metadata"]["name"] for of_kind in of(items, "StatefulSet")} == {"telemetry-processor", "telemetry-alerter"}


def test_the_ingress_has_the_public_paths_alone():
    [ingress] = of(built("overlays/production"), "Ingress")
    assert ingress["metadata"]["name"] == "telemetry-ingress"
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"] for rule in ingress["spec"]["rules"]]
    paths = [(path["path"], path["pathType"]) for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]

    def routed(address: str) -> bool:
        return any(
            address == path if kind == "Exact" else address == path or address.startswith(path + "/") for path, kind in paths
        )

    private = ("/", "/metrics", "/health", "/live", "/ready", "/api/v1/privacy/erasures", "/api/v1/dev/tail", "/openapi.json")
    for kept in (*private, "/api/v1/alerts", "/api/v1/silences"):
        assert not routed(kept), kept
    compatible = (ROOT / "ingest-gateway/src/http/compat/mod.rs").read_text()
    theirs = re.findall(r'^    "(/[^"]+)",$', compatible, re.M)
    assert len(theirs) >= 16
    for public in ("/api/v1/events", "/api/v1/users/u-1/journey", "/slack/interactions", *theirs):
        assert routed(public), public
    assert {path for path, _ in paths} == {"/api/v1/events", "/api/v1/users", "/slack/interactions", *theirs}
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            assert path["backend"] == {"service": {"name": "telemetry-service", "port": {"name": "http"}}}


@overlays
def test_pods_are_confined_and_know_nothing_of_the_cluster(overlay):
    items = built(overlay)
    assert not of(items, "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "Secret")
    enforced = one(items, "Namespace", "telemetry")["metadata"]["labels"]
    assert enforced["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in workloads(items):
        spec = template(workload)["spec"]
        account = one(items, "ServiceAccount", spec["serviceAccountName"])
        assert account["automountServiceAccountToken"] is False and spec["automountServiceAccountToken"] is False
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True and pod["runAsUser"] > 0 and pod["seccompProfile"]["type"] == "RuntimeDefault"
        inner = container(workload)["securityContext"]
        assert inner["allowPrivilegeEscalation"] is False and inner["readOnlyRootFilesystem"] is True
        assert inner["capabilities"] == {"drop": ["ALL"]}
        assert {"cpu", "memory"} <= set(container(workload)["resources"]["requests"])
        assert "memory" in container(workload)["resources"]["limits"]
        assert spec["priorityClassName"] == one(items, "PriorityClass", "telemetry")["metadata"]["name"]


@overlays
def test_probes_ask_what_the_services_mean(overlay):
    for workload in of(built(overlay), "Deployment", "StatefulSet"):
        ports = {port["name"]: port["containerPort"] for port in container(workload)["ports"]}
        for probe, path in (("startupProbe", "/live"), ("livenessProbe", "/live"), ("readinessProbe", "/ready")):
            asked = container(workload)[probe]["httpGet"]
            assert (asked["path"], ports[asked["port"]]) == (path, 9464)
        notes = template(workload)["metadata"]["annotations"]
        assert (notes["prometheus.io/port"], notes["prometheus.io/path"]) == ("9464", "/metrics")


@overlays
def test_each_role_runs_on_a_configuration_the_program_takes(overlay, validate):
    items = built(overlay)
    [configs] = [item for item in of(items, "ConfigMap") if item["metadata"]["name"].startswith("telemetry-config")]
    assert set(configs["data"]) == {f"{role}.yaml" for role in ROLES}
    loaded = {name: yaml.safe_load(text) for name, text in configs["data"].items()}
    for name, text in configs["data"].items():
        assert validate(text, {}) == "", name
    for section in ("topics", "schema_registry"):
        assert len({str(config[section]) for config in loaded.values()}) == 1, "all roles mean the same topics"
    assert len({config["log"]["brokers"] for config in loaded.values()}) == 1

    for workload in workloads(items):
        spec, inner = template(workload)["spec"], container(workload)
        [path] = [entry["value"] for entry in inner["env"] if entry["name"] == "TELEMETRY_CONFIG"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = {mount["mountPath"]: volumes.get(mount["name"]) for mount in inner["volumeMounts"]}
        config = mounts["/etc/telemetry/config"]["configMap"]
        assert config["name"] == configs["metadata"]["name"]
        name = path.removeprefix("/etc/telemetry/config/")
        assert name in {item["path"] for item in config["items"]}
        secret = mounts["/etc/telemetry/secrets"]["secret"]
        given = {item["path"] for item in secret["items"]}
        wanted = {found.rsplit("/", 1)[1] for found in re.findall(r"/etc/telemetry/secrets/[\w.-]+", configs["data"][name])}
        assert wanted <= given
        if overlay.endswith("production"):
            assert given == wanted, "a role holds the secrets it uses, and no other"
        drain = int(loaded[name]["service"]["drain_timeout"].removesuffix("s"))
        assert spec["terminationGracePeriodSeconds"] > drain + 5


def test_a_wrong_key_in_a_configuration_is_found(validate):
    assert "gatewy" in validate("gatewy: {listen: x}", {})


@overlays
def test_the_program_takes_what_containers_call_it_with(overlay, ttf):
    for workload in workloads(built(overlay)):
        run = subprocess.run([ttf, *container(workload)["args"], "--help"], capture_output=True, text=True, timeout=30)
        assert run.returncode == 0, run.stderr


def test_state_lies_on_the_volume():
    for role, section in (("processor", "processor"), ("alerter", "alerter")):
        config = yaml.safe_load((DEPLOY / "kubernetes/base/config" / f"{role}.yaml").read_text())
        stateful = one(built("overlays/production"), "StatefulSet", f"telemetry-{role}")
        [claim] = stateful["spec"]["volumeClaimTemplates"]
        [mount] = [m for m in container(stateful)["volumeMounts"] if m["name"] == claim["metadata"]["name"]]
        assert config[section]["state_dir"].startswith(mount["mountPath"] + "/")
        assert config[section]["ordinal"] == "auto"


def ends() -> tuple[list[End], list[End]]:
    """Those whom the policies are about, and the rest of the world."""
    ports = {"http": 8080, "admin": 9464}
    ours = [
        End(role, {"app": "telemetry", "app.kubernetes.io/component": role}, named_ports=ports) for role in (*ROLES, "topics")
    ]
    ours += [End("client", {"telemetry-client": "true"}), End("stranger", {"app": "other"})]
    world = [End(name, namespace=name) for name in ("kafka", "databases", "monitoring", "ingress-nginx", "elsewhere")]
    world += [
        End("dns", {"k8s-app": "kube-dns"}, namespace="kube-system"),
        End("system", namespace="kube-system"),
        End("shop", namespace="shop", namespace_labels={"telemetry-client": "true"}),
        End("internet", address="93.184.216.34", namespace=""),
        End("private", address="10.1.2.3", namespace=""),
        End("metadata", address="169.254.169.254", namespace=""),
    ]
    return ours, world


@overlays
def test_the_network_lets_through_each_needed_path_and_nothing_else(overlay):
    policies = of(built(overlay), "NetworkPolicy")
    ours, world = ends()
    broker = 9092 if overlay.endswith("dev") else 9093
    needed = {(role, "kafka", "TCP", broker) for role in (*ROLES, "topics")}
    needed |= {(role, "kafka", "TCP", 8080) for role in ROLES}
    needed |= {(role, "databases", "TCP", port) for role in ("gateway", "archiver") for port in (5432, 6379)}
    needed |= {(role, "internet", "TCP", 443) for role in ("archiver", "alerter")}
    needed |= {(name, "dns", protocol, 53) for name in (*ROLES, "topics", "client") for protocol in ("TCP", "UDP")}
    needed |= {("monitoring", role, "TCP", 9464) for role in (*ROLES, "topics")}
    needed |= {(caller, "gateway", "TCP", 8080) for caller in ("ingress-nginx", "shop", "client")}

    through = {
        (source.name, target.name, protocol, port)
        for source in ours + world
        for target in ours + world
        if source.name != target.name and (source in ours or target in ours)
        for protocol in ("TCP", "UDP")
        for port in (22, 53, 80, 443, 5432, 6379, 8080, 8888, 9092, 9093, 9094, 9464)
        if connects(policies, source, target, protocol, port)
    }
    assert through == needed


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Production with all components."""
    folder = tmp_path_factory.mktemp("everything")
    kubernetes = Path(os.path.relpath(DEPLOY / "kubernetes", folder.resolve()))
    names = ("prometheus-operator", "external-secrets", "processor-on-lag", "gateway-request-rate")
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(kubernetes / "overlays/production")],
        "components": [str(kubernetes / "components" / name) for name in names],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return built(str(folder))


def test_the_components_fit(everything):
    keys = {item["key"] for workload in workloads(everything) for item in secret_items(workload)}
    external = one(everything, "ExternalSecret", "telemetry-secrets")
    assert external["spec"]["target"]["name"] == "telemetry-secrets"
    assert {entry["secretKey"] for entry in external["spec"]["data"]} == keys

    monitor = one(everything, "PodMonitor", "telemetry")
    for workload in of(everything, "Deployment", "StatefulSet"):
        assert monitor["spec"]["selector"]["matchLabels"].items() <= template(workload)["metadata"]["labels"].items()
        assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in {port["name"] for port in container(workload)["ports"]}

    scaled = one(everything, "ScaledObject", "telemetry-processor")["spec"]
    assert one(everything, scaled["scaleTargetRef"]["kind"], scaled["scaleTargetRef"]["name"])
    config = yaml.safe_load((DEPLOY / "kubernetes/base/config/processor.yaml").read_text())
    assert scaled["maxReplicaCount"] <= config["topics"]["partitions"]

    [scaler] = of(everything, "HorizontalPodAutoscaler")
    assert {metric["type"] for metric in scaler["spec"]["metrics"]} == {"Resource", "Pods"}
    for version in VERSIONS:
        kubernetes_validate.validate(scaler, version, strict=True)


def test_operators_take_their_objects(everything):
    found = [item for item in everything if item["kind"] in FOREIGN]
    assert {item["kind"] for item in found} == FOREIGN
    for item in found:
        assert mistakes(item) == [], item["metadata"]["name"]


MISSPELT = {
    "PodMonitor": ("podMetricsEndpoints", 0, "intervall"),
    "PrometheusRule": ("groups", 0, "rules", 0, "labells"),
    "ExternalSecret": ("data", 0, "remoteRef", "keyy"),
    "ScaledObject": ("advanced", "horizontalPodAutoscalerConfig", "behaviour"),
}


@pytest.mark.parametrize("kind", sorted(FOREIGN))
def test_a_misspelt_field_of_an_operators_object_is_found(everything, kind):
    [item, *_] = of(everything, kind)
    broken = copy.deepcopy(item)
    *path, field = MISSPELT[kind]
    place = broken["spec"]
    for step in path:
        place = place[step]
    place[field] = "15s"
    assert [found for found in mistakes(broken) if field in found] != []
    assert mistakes({**item, "apiVersion": "example.com/v1"}) != []


def test_strimzi_takes_the_examples_and_finds_what_is_misspelt(tmp_path):
    files = [EXAMPLES / "strimzi.yaml", EXAMPLES / "strimzi-topics.yaml"]
    broken = {"a-word": ("operations: [Read", "operations: [Reed"), "a-field": ("patternType: prefix", "patternTyp: prefix"),
              "a-version": ("strimzi.io/v1", "strimzi.io/v1beta2")}  # fmt: skip
    for name, (right, wrong) in broken.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(files[0].read_text().replace(right, wrong, 1))
        files.append(file)
    # One call: most of its time is that of the start.
    told = strimzi_mistakes(*files)
    assert len(told) == len(broken) and all(line.startswith("KafkaUser telemetry-gateway: ") for line in told), told


def test_the_operator_gets_the_rules_that_are_tested(everything):
    groups = [g for file in sorted((DEPLOY / "prometheus/rules").glob("*.yml")) for g in yaml.safe_load(file.read_text())["groups"]]
    assert one(everything, "PrometheusRule", "telemetry")["spec"]["groups"] == groups


def test_dashboards_are_there_at_the_start(everything):
    for file in (DEPLOY / "grafana/dashboards").glob("*.json"):
        [config] = [item for item in of(everything, "ConfigMap") if file.name in item["data"]]
        assert config["data"][file.name] == file.read_text()
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"


def secret_items(workload: dict) -> list[dict]:
    return [item for volume in template(workload)["spec"]["volumes"] if "secret" in volume for item in volume["secret"]["items"]]


def test_the_example_for_mtls_is_a_configuration_the_program_takes(validate):
    example = yaml.safe_load((DEPLOY / "kubernetes/examples/kafka-mtls.yaml").read_text())
    assert validate(example["data"]["log.yaml"], {}) == ""


def test_the_example_users_may_do_what_their_roles_do():
    examples = yaml.safe_load_all((DEPLOY / "kubernetes/examples/strimzi.yaml").read_text())
    users = {user["metadata"]["name"]: user["spec"] for user in examples}
    assert set(users) == {f"telemetry-{role}" for role in ROLES}
    for role in ROLES:
        config = yaml.safe_load((DEPLOY / "kubernetes/base/config" / f"{role}.yaml").read_text())
        assert config["log"]["properties"]["sasl.username"] == f"telemetry-{role}"
        assert users[f"telemetry-{role}"]["authentication"]["type"] == "scram-sha-512"
        topics = set(re.findall(r'"(telemetry\.[a-z.]+v1)"', (ROOT / "schemas/src/topics.rs").read_text()))
        for acl in users[f"telemetry-{role}"]["authorization"]["acls"]:
            name = acl["resource"].get("name", "")
            if acl["resource"]["type"] == "topic" and acl["resource"]["patternType"] == "literal":
                assert name in topics, name


def test_the_example_topics_are_those_the_program_makes():
    source = (ROOT / "schemas/src/topics.rs").read_text()
    names = dict(re.findall(r'pub const (\w+): &str = "(telemetry\.[\w.]+)"', source))
    rows = re.findall(r"^    topic\((\w+), .*?, (?:days\(([\d_]+)\)|Cleanup::Compact), Partitioning::\w+\),$", source, re.M)
    assert len(rows) == source.count("\n    topic(") > 10
    production = yaml.safe_load((DEPLOY / "kubernetes/base/config/processor.yaml").read_text())["topics"]

    def wanted(days: str) -> dict:
        kept = {"retention.ms": int(days.replace("_", "")) * 86_400_000} if days else {}
        settings = {"cleanup.policy": "delete" if days else "compact", "min.insync.replicas": production["min_insync_replicas"]}
        return {"partitions": production["partitions"], "replicas": production["replication_factor"], "config": settings | kept}

    examples = yaml.safe_load_all((EXAMPLES / "strimzi-topics.yaml").read_text())
    assert {topic["metadata"]["name"]: topic["spec"] for topic in examples} == {names[name]: wanted(days) for name, days in rows}
