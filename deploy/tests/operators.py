"""Operators' own objects, held against what their operators take: fields that are not in the schema are mistakes."""

import os
import subprocess
from functools import cache
from pathlib import Path

import jsonschema
import yaml

STRICT = Path(__file__).parent / "strimzi/Strict.java"


def _folder() -> Path:
    return Path(os.environ["TTF_OPERATOR_SCHEMAS"])


def _strict(schema):
    """As an API server reads it: an object has the fields that are named, unless it says otherwise."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    # A field may be named as a keyword is: `properties` is a map of fields, whatever they are called.
    strict = {key: {name: _strict(of) for name, of in value.items()} if key == "properties" else _strict(value) for key, value in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        strict["additionalProperties"] = False
    if schema.get("nullable"):
        strict = {"anyOf": [{"type": "null"}, strict]}
    return strict


@cache
def schemas() -> dict[tuple[str, str], dict]:
    """Of each kind that is served, by `apiVersion` and `kind`."""
    found = {}
    for file in sorted(_folder().glob("*.yaml")):
        for definition in yaml.safe_load_all(file.read_text()):
            spec = definition["spec"]
            for version in filter(lambda version: version["served"], spec["versions"]):
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = _strict(version["schema"]["openAPIV3Schema"])
    return found


def mistakes(item: dict) -> list[str]:
    """What its operator would not take."""
    schema = schemas().get((item["apiVersion"], item["kind"]))
    if schema is None:
        return [f"{item['kind']} of {item['apiVersion']} is not served"]
    errors = jsonschema.Draft202012Validator(schema).iter_errors(item)
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in errors]


def strimzi_mistakes(*files: Path) -> list[str]:
    """What Strimzi's own classes do not understand."""
    command = ["java", "-cp", f"{_folder() / 'strimzi'}/*", STRICT, *files]
    run = subprocess.run(command, capture_output=True, text=True, timeout=300)
    found = [line for line in run.stdout.splitlines() if line]
    assert (run.returncode == 0) == (found == []), run.stderr
    return found
