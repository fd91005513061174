"""docker-compose.yml, the Dockerfile and what the containers are given."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from compose_spec import PyCompose
from conftest import DEPLOY, ROOT, SECRET

TEXT = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = dict(
    line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if line and not line.startswith("#")
)


def interpolated(text: str, values: dict[str, str]) -> dict:
    """The file as `docker compose` reads it: variables put in, `$$` undone."""

    def value(found: re.Match) -> str:
        name, operator, word = found[1], found[2], found[3]
        if values.get(name):
            return values[name]
        assert operator != ":?", f"{name} has no value: {word}"
        return word or ""

    text = re.sub(r"(?<!\$)\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)
    return yaml.safe_load(text.replace("$$", "$"))


COMPOSE = interpolated(TEXT, {name: value or SECRET for name, value in EXAMPLE.items()})
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("ttf:")}


def test_it_is_a_compose_file():
    parsed = PyCompose.from_yaml(yaml.safe_dump(COMPOSE))
    assert set(parsed.service_names()) == set(SERVICES)
    for broken in ({"helthcheck": {}}, {"depends_on": {"kafka": {"condition": "started"}}}):
        with pytest.raises(Exception):
            PyCompose.from_yaml(yaml.safe_dump({**COMPOSE, "services": {"x": {"image": "y:1", **broken}}}))


def test_every_variable_is_in_the_example_and_every_example_is_used():
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))
    assert used == set(EXAMPLE)


def test_no_secret_has_a_default():
    for name, operator in re.findall(r"(?<!\$)\$\{(\w*(?:PASSWORD|KEY|SHA256)\w*)(:?.)", TEXT):
        assert operator == ":?", name
        assert EXAMPLE[name] == ""


def test_the_four_roles_the_topics_and_dev_are_there():
    commands = {service["command"][0] for service in OURS.values()}
    assert commands == {"gateway", "processor", "archiver", "alerter", "topics", "dev"}
    assert SERVICES["dev"]["profiles"] == ["dev"]
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["dev"]


@pytest.mark.parametrize("name", OURS)
def test_the_program_takes_what_it_is_called_with(ttf, name):
    run = subprocess.run([ttf, *SERVICES[name]["command"], "--help"], capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stderr


def test_the_program_takes_its_configuration(validate):
    environment = OURS["gateway"]["environment"]
    assert environment["TELEMETRY_CONFIG"] == "/etc/ttf/telemetry.yaml"
    text = (DEPLOY / "docker" / "telemetry.yaml").read_text()
    assert set(re.findall(r"\$\{env:(\w+)\}", text)) == set(environment) - {"TELEMETRY_CONFIG"}
    assert validate(text, environment) == ""


def test_the_configuration_names_services_and_ports_that_are_there():
    config = yaml.safe_load((DEPLOY / "docker" / "telemetry.yaml").read_text())
    named = set(re.findall(r"(?:@|//|: )([a-z0-9]+):\d{4}", (DEPLOY / "docker" / "telemetry.yaml").read_text()))
    assert named == {"kafka", "registry", "redis", "timescaledb", "s3"}
    assert named <= set(SERVICES)
    assert config["archive"]["s3"]["bucket"] in SERVICES["bucket"]["command"][0]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_confined(name):
    service = SERVICES[name]
    assert re.search(r":v?\d[\w.-]+$", service["image"]), "the image is not pinned"
    assert service["user"].split(":")[0] not in {"", "0", "root"}
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "reachable from elsewhere unless somebody says so"
    if name in OURS:
        assert service["read_only"] is True


def test_what_keeps_running_has_a_health_check_and_what_is_waited_for_is_there():
    for name, service in SERVICES.items():
        one_shot = service["restart"] == "no"
        assert one_shot or service["healthcheck"]["test"], name
        for other, how in service.get("depends_on", {}).items():
            ends = SERVICES[other]["restart"] == "no"
            assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy"), (name, other)


def test_volumes_and_mounted_files_are_there():
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), (name, source)
            else:
                assert source in COMPOSE["volumes"], (name, source)
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    assert set(COMPOSE["volumes"]) <= used


def test_no_secret_is_an_argument():
    for name, service in SERVICES.items():
        for part in ("command", "entrypoint"):
            assert SECRET not in str(service.get(part)), name


def test_the_dockerfile_passes_the_linter():
    run = subprocess.run(["hadolint", str(DEPLOY / "docker" / "Dockerfile")], capture_output=True, text=True, timeout=30)
    assert run.returncode == 0, run.stdout


def test_the_dockerfile_copies_what_is_there_and_runs_as_nobody_special():
    text = (DEPLOY / "docker" / "Dockerfile").read_text()
    for line in re.findall(r"^COPY (.*)$", text, re.M):
        words = [word for word in line.split() if not word.startswith("--chmod")]
        if not words[0].startswith("--from"):
            assert (ROOT / words[0]).exists(), line
    assert re.search(r"^USER 65532:65532$", text, re.M)
    for image in re.findall(r"^FROM (\S+)", text, re.M):
        assert re.search(r":\S*\d", image), image


def test_the_context_holds_every_member_of_the_workspace():
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] not in "#!*"}
    members = re.search(r"members = \[(.*?)\]", (ROOT / "Cargo.toml").read_text(), re.S)[1]
    for member in re.findall(r'"([^"]+)"', members):
        parts = Path(member).parts
        assert not any("/".join(parts[: n + 1]) in ignored for n in range(len(parts))), member


def test_the_rust_of_the_image_is_new_enough():
    wanted = re.search(r'rust-version = "([\d.]+)"', (ROOT / "Cargo.toml").read_text())[1]
    used = re.search(r"FROM rust:([\d.]+)", (DEPLOY / "docker" / "Dockerfile").read_text())[1]
    assert tuple(map(int, used.split("."))) >= tuple(map(int, wanted.split(".")))


def test_the_health_check_tells_ready_from_not(tmp_path):
    import http.server
    import threading

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/ready" else 503)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def code(*arguments: str) -> int:
            check = [str(DEPLOY / "docker" / "healthcheck"), *arguments]
            return subprocess.run(check, capture_output=True, timeout=10).returncode

        port = str(server.server_port)
        assert os.access(DEPLOY / "docker" / "healthcheck", os.X_OK)
        assert code(port) == 0
        assert code(port, "/other") != 0
        server.shutdown()
    assert code(port) != 0
