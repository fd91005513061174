"""A real Prometheus with the real alerts, their times shortened."""

import json
import re
import urllib.parse
from pathlib import Path

import yaml
from conftest import required
from servers import Server, eventually, free_ports
from system import get

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules"
#: What windows become: nobody waits three days for a test. The order of short and long stays.
WINDOWS = {"5m": "5s", "10m": "6s", "15m": "10s", "30m": "8s", "1h": "10s", "6h": "12s", "1d": "30s", "3d": "15s"}
#: Likewise, how long a condition must hold.
HOLDS = {"0m": "0s", "1m": "1s", "2m": "1s", "5m": "2s", "10m": "2s", "15m": "2s", "1h": "2s"}
#: Limits that are times: alert -> what stands in its expression -> what it becomes.
LIMITS = {"TtfConsumerBehind": {"> 300": "> 5", "> 1800": "> 60"}, "TtfWorkerHangs": {"> 30": "> 3"}}


#: Where one alert needs another window than the rest: members take seconds to come and to go.
OWN_WINDOWS = {"TtfRebalancesAgainAndAgain": {"30m": "40s"}}


def shortened() -> dict:
    """The rules as they are, but for `WINDOWS`, `HOLDS` and `LIMITS`. Volumes stay: they are multiplied by the window
    they had, so that fewer requests are enough here."""
    groups = [group for file in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(file.read_text())["groups"]]
    for rule in (rule for group in groups for rule in group["rules"]):
        windows = {**WINDOWS, **OWN_WINDOWS.get(rule.get("alert"), {})}
        expression = re.sub(r"\[(\w+)\]", lambda found, windows=windows: f"[{windows[found[1]]}]", rule["expr"])
        rule["expr"] = re.sub(r"offset (\w+)", lambda found, windows=windows: f"offset {windows[found[1]]}", expression)
        for limit, becomes in LIMITS.get(rule.get("alert"), {}).items():
            assert limit in rule["expr"], (rule["alert"], limit)
            rule["expr"] = re.sub(re.escape(limit) + r"\b", becomes, rule["expr"])
        if "for" in rule:
            rule["for"] = HOLDS[rule["for"]]
    return {"groups": groups}


class Watch:
    """Prometheus, watching the processes of a test."""

    def __init__(self, folder: Path, parts: dict):
        folder.mkdir()
        (self.port,) = free_ports(1)
        (folder / "rules.yml").write_text(yaml.safe_dump(shortened()))
        targets = [{"targets": [f"127.0.0.1:{part.admin}"], "labels": {"component": part.role, "pod": name}} for name, part in parts.items()]
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(folder / "rules.yml")],
            "scrape_configs": [{"job_name": "ttf", "static_configs": targets}],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{self.port}"
        program = Path(required("TTF_DEPLOY_TOOLS")) / "prometheus"
        storage = ["--storage.tsdb.path", folder / "tsdb", "--web.listen-address", f"127.0.0.1:{self.port}"]
        self.server = Server([program, "--config.file", folder / "prometheus.yml", *storage], folder / "log", cwd=folder)
        eventually("Prometheus", 60, lambda: get(f"{self.url}/-/ready"))

    def api(self, path: str, **parameters: str) -> dict:
        return json.loads(get(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"))["data"]

    def firing(self) -> set[str]:
        return {alert["labels"]["alertname"] for alert in self.api("alerts")["alerts"] if alert["state"] == "firing"}

    def stop(self):
        self.server.stop()
