"""Every alert is provoked by what it is there for; the first look of its runbook is taken, command by command as it is
written; then what was broken is mended, and the alert goes.

Times of the rules are shortened (watch.py). For `kubectl` there is an API that knows the processes as pods (cluster.py);
ports are forwarded, and commands in pods run, by a stand-in. Where a command has one of the ports 8080 and 9464 of this machine, a free
one takes its place. Kafka's scripts are its classes.
"""

import re
import uuid

import pytest
import yaml
from faults import FAULTS
from scene import Scene
from servers import eventually
from system import MILESTONES
from watch import RULES


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    scene = Scene(tmp_path_factory.mktemp("scene"))
    with scene.clean:
        yield scene


def test_every_alert_is_provoked():
    alerts = {rule["alert"] for file in RULES.glob("*.yml") for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"] if "alert" in rule}
    assert {alert for fault in FAULTS.values() for alert in fault.shows} == alerts


@pytest.mark.parametrize("name", FAULTS)
def test_an_alert_comes_its_first_look_shows_why_and_it_goes_when_that_is_mended(scene, name):
    fault = FAULTS[name]
    for alert in fault.shows:
        eventually(f"{alert} is quiet before", 90, lambda alert=alert: not scene.is_firing(alert))
    broken = fault.breaks(scene)
    values = broken.__enter__()
    try:
        for alert in fault.shows:
            eventually(f"{alert} fires", 90, lambda alert=alert: scene.is_firing(alert))
        for alert, shows in fault.shows.items():
            told = scene.look(alert, **values)
            assert re.search(shows, told), f"{alert}: its first look does not show {shows!r}:\n{told[-6000:]}"
            failed = [line for line in re.findall(r"^FAILED: (.*)$", told, re.M) if not re.search(fault.fails, line)]
            assert failed == [], f"{alert}:\n{told[-6000:]}"
    finally:
        # Mended whatever was found: the next one stands on it.
        broken.__exit__(None, None, None)
    for alert in fault.shows:
        eventually(f"{alert} goes", 90, lambda alert=alert: not scene.is_firing(alert))


def test_the_whole_journey_still_works_after_all_of_it(scene):
    """What was broken is whole again: a user's events go all the way."""
    load = scene.town.load()
    user = f"after-{uuid.uuid4().hex}"
    load.user(user)
    assert len(load.accepted) == len(MILESTONES)
    done = f"select count(*) from v_user_journeys where user_id = '{user}' and status = 'completed'"
    eventually("the journey is complete", 90, lambda: scene.town.postgres.psql(done) == "1")
