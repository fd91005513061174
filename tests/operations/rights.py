"""What `deploy/kubernetes/examples/strimzi.yaml` lets each role do, and what a broker refused."""

import re
from pathlib import Path

import yaml
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

EXAMPLE = Path(__file__).parents[2] / "deploy/kubernetes/examples/strimzi.yaml"
KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "cluster": ResourceType.BROKER,
    "transactionalId": ResourceType.TRANSACTIONAL_ID,
}


def rights_of(role: str, user: str) -> list[AclBinding]:
    """What the example gives a role, for a user."""
    documents = yaml.safe_load_all(EXAMPLE.read_text())
    [found] = [one for one in documents if one and one["kind"] == "KafkaUser" and one["metadata"]["name"] == f"telemetry-{role}"]
    bindings = []
    for rule in found["spec"]["authorization"]["acls"]:
        resource = rule["resource"]
        pattern = ResourcePatternType.PREFIXED if resource.get("patternType") == "prefix" else ResourcePatternType.LITERAL
        for operation in rule["operations"]:
            name = "".join(f"_{letter}" if letter.isupper() else letter for letter in operation).strip("_").upper()
            about = (KINDS[resource["type"]], resource.get("name", "kafka-cluster"), pattern)
            bindings.append(AclBinding(*about, f"User:{user}", "*", AclOperation[name], AclPermissionType.ALLOW))
    return bindings


def denied(kafka, user: str) -> set[str]:
    """What the broker's authorizer says to have denied a user: operation and resource."""
    lines = re.findall(rf"Principal = User:{re.escape(user)} is Denied operation = (\w+) from host = \S+ on resource = (\S+)", (kafka.folder / "log").read_text())
    return {f"{operation} {resource}" for operation, resource in lines}
