#!/usr/bin/env python3
"""Runs every suite, several at a time: they wait for brokers and time-outs more than they compute.

    scripts/suites.py FOLDER [FEATURES…]

Each test binary that cargo builds is a suite, and so is each script below. A suite's output goes to a file in FOLDER
and is shown when it is red. Red tests are run once more by themselves at the end, and told as flaky when they are
green then (docs/decisions/a-red-test-runs-twice.md). Ends with 1 when something is broken.
"""

import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

#: At a time. Three keep two cores busy for about two thirds of the time.
SLOTS = int(os.environ.get("TTF_TEST_SLOTS", "3"))
#: Of a suite that hangs, in seconds.
PATIENCE = 1800
ROOT = Path(__file__).parents[1]
#: The longest come first, or the others would wait for them at the end.
SCRIPTS = ["scripts/test-operations.sh", "scripts/test-deploy.sh", "scripts/test-python.sh"]
LONG = ["fault_brokers", "scenario", "keyed_simulation", "fault_crash", "fault_inputs"]
RED = re.compile(r"^test (.+) \.\.\. FAILED$", re.MULTILINE)
RED_PYTHON = re.compile(r"^FAILED (\S+::\w+(?:\[.*?\])?)(?: - |$)", re.MULTILINE)


@dataclass
class Suite:
    name: str
    command: list[str]
    folder: Path
    is_rust: bool = True

    def run(self, output: Path, tests: list[str] | None = None) -> int:
        command = self.command + ((["--exact"] if self.is_rust else []) + tests if tests else [])
        # Some test libraries look for their files beside the manifest.
        environment = os.environ | {"CARGO_MANIFEST_DIR": str(self.folder)}
        with (
            output.open("w") as file,
            subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            ) as process,
        ):
            try:
                return process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                file.write(f"killed: it took longer than {PATIENCE} s\n")
                return process.wait()


def rust_suites(features: list[str]) -> list[Suite]:
    cargo = ["cargo", "test", "--locked", "--workspace", *features]
    built = subprocess.run(
        [*cargo, "--no-run", "--message-format=json-render-diagnostics"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    suites = []
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            folder, target = Path(message["manifest_path"]).parent, message["target"]
            name = f"{folder.relative_to(ROOT)}:{target['name']}".replace("/", "-")
            suites.append(Suite(f"{name}-{target['kind'][0]}", [message["executable"]], folder))
    suites.sort(key=lambda suite: not any(name in suite.name for name in LONG))
    return [*suites, Suite("documentation", [*cargo, "--doc", "--quiet"], ROOT, is_rust=False)]


def main(folder: Path, features: list[str]) -> int:
    rust = rust_suites(features)
    suites = [Suite(Path(script).stem, [script], ROOT, is_rust=False) for script in SCRIPTS] + rust
    red: list[tuple[Suite, list[str]]] = []
    broken: list[str] = []

    def run(suite: Suite) -> None:
        started, output = time.monotonic(), folder / f"{suite.name}.log"
        code = suite.run(output)
        text = output.read_text(errors="replace")
        counts = re.findall(r"\d+ passed.*", text)
        verdict = "green" if code == 0 else f"RED (exit {code})"
        line = f"{time.monotonic() - started:7.1f} s  {verdict}  {suite.name}  {counts[-1] if counts else ''}"
        shown = line if code == 0 else f"{line}\n{text}\n{verdict}: {suite.name}, its output is above"
        print(shown, flush=True)
        if code == 0:
            return
        tests = (RED if suite.is_rust else RED_PYTHON).findall(text)
        # One that was ended by a signal names no test.
        if tests and code > 0:
            red.append((suite, tests))
        else:
            broken.append(suite.name)

    with ThreadPoolExecutor(SLOTS) as pool:
        list(pool.map(run, suites))

    flaky = []
    for suite, tests in red:
        output = folder / f"{suite.name}-again.log"
        code = suite.run(output, tests)
        named = [f"{suite.name} {test}" for test in tests]
        if code == 0:
            flaky += named
        else:
            print(output.read_text(errors="replace"))
            broken += named
    for name in flaky:
        print(f"FLAKY: {name} was red once and green when it ran by itself; its first output is above")
    for name in broken:
        print(f"BROKEN: {name}")
    print(f"{len(suites)} suites, {len(broken)} broken, {len(flaky)} flaky")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
