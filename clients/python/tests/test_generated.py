"""What is generated is what the schema and the default journeys say."""

from __future__ import annotations

import json
import runpy
import typing

from telemetry import MilestoneName, _schema
from telemetry.milestones import MILESTONES

from .conftest import ROOT

GENERATE = runpy.run_path(str(ROOT / "clients/python/tools/generate.py"))


def test_the_generated_modules_are_up_to_date() -> None:
    for path, text in GENERATE["generated"]().items():
        assert path.read_text(encoding="utf-8") == text, f"run python tools/generate.py: {path.name}"


def test_a_change_of_the_schema_is_noticed() -> None:
    schema = json.loads((ROOT / "schemas/json/event.schema.json").read_text())
    schema["properties"]["session_id"]["maxLength"] = 7
    written = (ROOT / "clients/python/src/telemetry/_schema.py").read_text()
    assert GENERATE["schema_module"](schema) != written


def test_batches_are_within_what_the_gateway_takes() -> None:
    batch = json.loads((ROOT / "schemas/json/batch.schema.json").read_text())
    from telemetry.config import _GREATEST

    assert _GREATEST["batch_events"] == batch["properties"]["events"]["maxItems"]


def test_type_checkers_know_the_milestones_that_run_time_knows() -> None:
    assert set(typing.get_args(MilestoneName)) == set(MILESTONES)
    assert "first_project_created" in MILESTONES
    assert set(typing.get_args(_schema.EventType)) == set(_schema.EVENT_TYPES)
