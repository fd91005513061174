"""Writes the modules that follow from the project's schema before a package is built.

An sdist has no schema beside it any more; there the modules are packed as they were written.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class GenerateHook(BuildHookInterface):  # type: ignore[misc]
    """Runs `tools/generate.py` where the repository is at hand."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        if (root / "../../schemas/json/event.schema.json").is_file():
            runpy.run_path(str(root / "tools/generate.py"), run_name="__main__")
