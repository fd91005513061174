"""The configuration and every Secret are lost: what comes back from a backup of them, and what never does without one."""

import hashlib
import json
import secrets
import shutil
import signal
import urllib.error
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone

import pytest
import yaml
from servers import eventually
from system import MILESTONES, Process, run

#: Whose loss is spoken of below.
NAMES = ("privacy", "names", "erasure", "key")


class Kept:
    """All roles in one process, with its secrets in files of its own and an archive of its own."""

    def __init__(self, world, folder):
        self.world, self.secrets, self.database = world, folder / "secrets", f"kept_{uuid.uuid4().hex[:8]}"
        world.postgres.psql(f"create database {self.database}")
        self.secrets.mkdir()
        for name in NAMES:
            self.renew(name)
        file = lambda name: f"${{file:{self.secrets / name}}}"  # noqa: E731
        config = world.config()
        url = world.postgres.url(f"?sslmode=verify-full&sslrootcert={world.authority.ca}", database=self.database)
        (self.secrets / "database").write_text(url)
        config["archive"] |= {"erasure_key": file("erasure"), "database": {"kind": "postgres", "url": file("database")}}
        config["gateway"] |= {"auth": {"mode": "required"}, "reload_interval": "500ms"}
        config["tenants"] = {"default": {"keys": [{"name": "web", "sha256": file("key.sha256"), "scopes": ["ingest", "read", "admin"]}]}}
        config["privacy"] = {"keys": [{"id": "one", "secret": file("privacy")}], "fields": {"user_id": "hash"}}
        config["processor"]["state_dir"] = str(folder / "state")
        config["alerter"] |= {"state_dir": str(folder / "alerts"), "user_id_key": file("names")}
        self.gateway = config["gateway"]["listen"]
        apply = folder / "apply.yaml"
        apply.write_text(yaml.safe_dump(config))
        done = run("topics", "apply", "--config", apply, environment=world.environment())
        assert done.returncode == 0, done.stderr
        self.process = Process("all", folder / "all", config, world.environment())

    def renew(self, name: str):
        value = secrets.token_hex(24)
        (self.secrets / name).write_text(value)
        if name == "key":
            (self.secrets / "key.sha256").write_text(hashlib.sha256(value.encode()).hexdigest())

    def send(self, user: str, milestones: slice, key: str | None = None) -> int:
        began = datetime.now(timezone.utc) - timedelta(minutes=30)
        events = [
            {"event_id": f"{user}-{name}", "event_name": name, "event_type": "track", "user_id": user,
             "timestamp": (began + timedelta(minutes=index)).isoformat(timespec="milliseconds")}
            for index, name in list(enumerate(MILESTONES))[milestones]
        ]  # fmt: skip
        return self.ask("/api/v1/events", {"events": events}, key)

    def ask(self, path: str, body: dict, key: str | None = None) -> int:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key or (self.secrets / 'key').read_text()}"}
        request = urllib.request.Request(f"http://{self.gateway}{path}", json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as refused:
            return refused.code

    def psql(self, query: str) -> str:
        return self.world.postgres.psql(query, database=self.database)

    def journeys(self, user: str) -> list[str]:
        """The statuses of a user's journeys, whatever pseudonyms the user has."""
        people = f"select user_id from events where event_id like '{user}-%'"
        return sorted(self.psql(f"select status from journeys where user_id in ({people})").split())

    def ends(self) -> tuple[int, str]:
        """Starts it, and returns how it ended by itself and what it said."""
        before = len(self.process.log)
        self.process.server.start()
        eventually("it ends", 60, lambda: self.process.server.process.poll() is not None)
        return self.process.server.process.returncode, self.process.log[before:]


@pytest.fixture(scope="module")
def kept(world, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    kept = Kept(world, folder)
    try:
        kept.process.ready(90)
        yield kept
    finally:
        kept.process.stop()
        world.postgres.psql(f"drop database if exists {kept.database} with (force)")


def half_way(kept) -> str:
    user = f"user-{uuid.uuid4().hex}"
    assert kept.send(user, slice(0, 3)) == 202
    eventually("the journey is under way", 60, lambda: kept.journeys(user) == ["in_progress"])
    return user


def test_all_is_lost_and_comes_back_from_the_backup(kept, tmp_path):
    user = half_way(kept)
    shutil.copytree(kept.secrets, tmp_path / "secrets")
    shutil.copy(kept.process.config, tmp_path / "telemetry.yaml")
    kept.process.stop(signal.SIGKILL)
    shutil.rmtree(kept.secrets)
    kept.process.config.unlink()

    code, said = kept.ends()
    assert code == 78 and "telemetry.yaml" in said, said
    shutil.copy(tmp_path / "telemetry.yaml", kept.process.config)
    code, said = kept.ends()
    assert code == 78 and str(kept.secrets) in said, said
    shutil.copytree(tmp_path / "secrets", kept.secrets)
    kept.process.server.start()
    kept.process.ready(90)
    # The same pseudonym as before: the journey goes on.
    assert kept.send(user, slice(3, None)) == 202
    eventually("the journey is complete", 60, lambda: kept.journeys(user) == ["completed"])


def test_an_api_key_that_is_lost_is_replaced_while_it_runs(kept):
    old = (kept.secrets / "key").read_text()
    kept.renew("key")
    eventually("the new key is taken", 60, lambda: kept.send("new-key", slice(0, 1)) == 202)
    assert kept.send("old-key", slice(0, 1), old) == 401


def test_without_the_key_of_pseudonyms_people_are_others_and_nothing_else_is_lost(kept):
    user = half_way(kept)
    kept.process.stop()
    kept.renew("privacy")
    kept.renew("names")
    kept.process.server.start()
    kept.process.ready(90)
    assert kept.send(user, slice(3, None)) == 202
    eventually("the rest arrives", 60, lambda: kept.psql(f"select count(*) from events where event_id like '{user}-%'") == "5")
    people = kept.psql(f"select count(distinct user_id) from events where event_id like '{user}-%'")
    assert people == "2" and "completed" not in kept.journeys(user), kept.journeys(user)


def test_another_key_of_erasures_is_refused_until_it_is_given_up_knowingly(kept):
    kept.process.stop()
    kept.renew("erasure")
    code, said = kept.ends()
    assert code != 0 and "erasure_key is not the key" in said, said[-2000:]
    # The remedy of docs/operations.md.
    kept.psql("delete from archive_settings where name = 'erasure_ledger_key_fingerprint'")
    kept.process.server.start()
    kept.process.ready(90)
    assert kept.send("after", slice(0, 1)) == 202
