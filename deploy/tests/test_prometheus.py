"""Rules, runbooks and dashboards: by promtool, and against a running system with a real Prometheus."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
import yaml
from conftest import DEPLOY, ROOT, free_ports

RULES = sorted((DEPLOY / "prometheus/rules").glob("*.yml"))
TESTS = sorted((DEPLOY / "prometheus/tests").glob("*.yml"))
DASHBOARDS = sorted((DEPLOY / "grafana/dashboards").glob("*.json"))
#: Figures that are there only once something has happened that a quiet system does not see.
SELDOM = {"ttf_dlq_records_total", "ttf_gateway_reloads_total", "ttf_gateway_tls_reloads_total"}


def rules(kind: str) -> list[dict]:
    groups = [group for file in RULES for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def queries() -> list[tuple[str, str]]:
    """Every query of every panel, variables standing for all."""
    found = []
    for file in DASHBOARDS:
        board = json.loads(file.read_text())
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                # Those on the database are tried where there is one: tests/operations.
                if "rawSql" in target:
                    continue
                name = f"{board['uid']}: {panel['title']} {target['refId']}"
                found.append((name, target["expr"].replace("$journey", ".*").replace("$instance", ".*")))
    assert len(found) > 30
    return found


def run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_derived_is_up_to_date():
    run(sys.executable, DEPLOY / "tools/generate.py", "--check")


@pytest.mark.parametrize("file", RULES, ids=lambda file: file.stem)
def test_rules_are_well_formed(file, tools):
    run(tools / "promtool", "check", "rules", file)


@pytest.mark.parametrize("file", TESTS, ids=lambda file: file.stem)
def test_alerts_fire_when_they_should_and_not_when_they_should_not(file, tools):
    run(tools / "promtool", "test", "rules", file)


def test_every_alert_is_tested_firing_and_quiet():
    fires, quiet = set(), set()
    for file in TESTS:
        for test in yaml.safe_load(file.read_text())["tests"]:
            for check in test["alert_rule_test"]:
                (fires if check["exp_alerts"] else quiet).add(check["alertname"])
    names = {rule["alert"] for rule in rules("alert")}
    assert fires == names
    assert quiet == names


def test_every_alert_has_a_runbook():
    names = {rule["alert"] for rule in rules("alert")}
    for rule in rules("alert"):
        assert rule["labels"]["severity"] in {"page", "ticket"}
        text = (ROOT / rule["annotations"]["runbook_url"]).read_text()
        headings = re.findall(r"^## (.*)$", text, re.M)
        assert headings == ["Meaning", "Impact", "First look", "Fix", "Prevention"], rule["alert"]
        assert "```sh" in text
        for linked in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert (ROOT / "docs/runbooks" / linked).exists(), linked
    books = {file.stem for file in (ROOT / "docs/runbooks").glob("*.md")} - {"README"}
    assert books == names


def test_prometheus_takes_its_configuration(tools):
    run(tools / "promtool", "check", "config", "--syntax-only", DEPLOY / "prometheus/compose.yml")


def test_the_scrape_configurations_name_what_is_there():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    [job] = yaml.safe_load((DEPLOY / "prometheus/compose.yml").read_text())["scrape_configs"]
    for group in job["static_configs"]:
        for target in group["targets"]:
            assert target.split(":") == [group["labels"]["component"], "9464"]
            assert target.split(":")[0] in services
    # Debian's promtool knows no Kubernetes: only the shape is looked at.
    [job] = yaml.safe_load((DEPLOY / "prometheus/kubernetes.yml").read_text())["scrape_configs"]
    assert job["job_name"] == "ttf"
    assert {"component", "namespace", "pod"} <= {rule.get("target_label") for rule in job["relabel_configs"]}


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return answer.read().decode()


def eventually(what: str, seconds: float, condition, running=()):
    """Waits for a condition that returns something, errors of the network meaning `not yet`, while processes run."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        for process in running:
            assert process.poll() is None, f"{what}: {process.args[0]} ended with {process.poll()}"
        try:
            if (found := condition()) is not None:
                return found
        except OSError as error:
            last = error
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {seconds} s ({last})")


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A running system under load, and the Prometheus that watches it; `(metrics, api, load)`."""
    import os

    folder = tmp_path_factory.mktemp("watched")
    ttf, tools = os.environ["TTF_TEST_BIN"], Path(os.environ["TTF_DEPLOY_TOOLS"])
    port, at = free_ports(2)
    config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(file) for file in RULES],
        "scrape_configs": [
            {"job_name": "ttf", "static_configs": [{"targets": [f"127.0.0.1:{port}"], "labels": {"component": "gateway"}}]}
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    started = []

    def start(name: str, *command: object) -> None:
        log = (folder / f"{name}.log").open("w")
        started.append(subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=folder))

    try:
        start("ttf", ttf, "dev", "--listen", f"127.0.0.1:{port}", "--data-dir", folder / "data")
        storage = ("--storage.tsdb.path", folder / "tsdb", "--web.listen-address", f"127.0.0.1:{at}")
        start("prometheus", tools / "prometheus", "--config.file", folder / "prometheus.yml", *storage)
        eventually("ready", 60, lambda: get(f"http://127.0.0.1:{port}/ready"), started)
        eventually("Prometheus", 60, lambda: get(f"http://127.0.0.1:{at}/-/ready"), started)

        def load(seed: int) -> None:
            url = f"http://127.0.0.1:{port}"
            run(ttf, "demo", "--users", "60", "--speed-up", "6000", "--seed", str(seed), "--url", url)

        load(1)

        def api(path: str, **parameters: str) -> dict:
            return json.loads(get(f"http://127.0.0.1:{at}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))["data"]

        # Alerts wait `alerter.route.group_wait` (5 s) for others that belong with them.
        def told() -> str | None:
            metrics = get(f"http://127.0.0.1:{port}/metrics")
            return metrics if "ttf_alert_deliveries_total{" in metrics else None

        yield eventually("somebody is told", 40, told), api, load
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait(timeout=20)


def test_every_figure_that_is_named_exists(watched):
    metrics, _, _ = watched
    there = set(re.findall(r"^(\w+)[{ ]", metrics, re.M)) | SELDOM | {"up"}
    for name in SELDOM:
        sources = (path for path in ROOT.glob("*/src/**/*.rs") if f'"{name}"' in path.read_text())
        assert next(sources, None), f"{name} is not in the sources"
    expressions = [query for _, query in queries()] + [rule["expr"] for rule in rules("expr")]
    recorded = {rule["record"] for rule in rules("record")}
    for expression in expressions:
        bare = re.sub(r'"[^"]*"', '""', expression)
        for name in re.findall(r"\b(?:ttf_|process_|slo:|ttf:)[\w:]*", bare):
            assert name in there | recorded, f"{name} in {expression}"
    texts = [file.read_text() for file in (ROOT / "docs/runbooks").glob("*.md")]
    for name in {name for text in texts for name in re.findall(r"\bttf_\w+", text)}:
        assert name in there or name in {"ttf_events_rejected_total"}, name


def test_every_query_of_every_panel_returns_data(watched):
    _, api, load = watched
    missing = dict(queries())

    def look():
        for name, expression in list(missing.items()):
            if api("query", query=expression)["result"]:
                del missing[name]
        return None if missing else True

    # A rate wants figures that grow while they are looked at: on a busy machine the load may be over before that.
    for seed in (2, 3, 4, 5):
        try:
            eventually("every panel has data", 5, look)
            break
        except AssertionError:
            load(seed)
    else:
        eventually(f"panels have data: {sorted(missing)}", 20, look)


def test_every_rule_is_evaluated_without_an_error_and_a_healthy_system_alerts_nobody(watched):
    _, api, _ = watched

    def look():
        evaluated = [rule for group in api("rules")["groups"] for rule in group["rules"]]
        return None if any(rule["health"] == "unknown" for rule in evaluated) else evaluated

    evaluated = eventually("rules", 20, look)
    assert len(evaluated) == len(rules("expr"))
    assert [(rule["name"], rule["lastError"]) for rule in evaluated if rule["health"] != "ok"] == []
    assert [alert["labels"]["alertname"] for alert in api("alerts")["alerts"] if alert["state"] == "firing"] == []
