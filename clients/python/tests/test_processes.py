"""Ends and beginnings of processes: nothing is lost that need not be, nothing is sent twice, nobody is held up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from telemetry import TelemetryClient

from .gateway import Gateway
from .waiting import until

HEAD = """
import functools, os, sys, signal, time
from telemetry import TelemetryClient as Client
# A busy machine is no reason to lose anything here.
TelemetryClient = functools.partial(Client, exit_timeout=60)
url, users, folder = sys.argv[1:4]
"""


@pytest.fixture
def users() -> str:
    return f"p-{uuid.uuid4().hex[:12]}-"


def start(script: str, url: str, users: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HEAD + script, url, users, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script: str, url: str, users: str, folder: Path) -> str:
    process = start(script, url, users, folder)
    printed, complaints = process.communicate(timeout=60)
    assert process.returncode == 0, complaints
    return printed


def test_a_script_that_just_ends_has_sent_everything(gateway: Gateway, users: str, tmp_path: Path) -> None:
    run(
        "c = TelemetryClient(url, flush_interval=60)\nfor n in range(700): c.track('x', user_id=users + str(n))",
        gateway.url,
        users,
        tmp_path,
    )
    assert max(gateway.delivered(users, 700).values()) == 1


def test_an_exception_that_ends_the_script_does_not_cost_events(gateway: Gateway, users: str, tmp_path: Path) -> None:
    process = start(
        "c = TelemetryClient(url)\nc.track('x', user_id=users)\nraise SystemExit(3)", gateway.url, users, tmp_path
    )
    process.communicate(timeout=60)
    assert process.returncode == 3
    gateway.delivered(users, 1)


def test_a_gateway_that_is_away_holds_up_the_end_no_longer_than_allowed(users: str, tmp_path: Path) -> None:
    started = time.monotonic()
    process = start(
        "c = Client('http://127.0.0.1:9', exit_timeout=0.5)\nc.track('x', user_id=users)", "-", users, tmp_path
    )
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 0
    assert time.monotonic() - started < 10
    assert "1 events could not be sent before the end and are lost" in complaints


def test_an_end_without_events_takes_no_time(users: str, tmp_path: Path) -> None:
    script = "c = TelemetryClient('http://127.0.0.1:9')\nprint(c.flush(60))"
    assert run(script, "-", users, tmp_path) == "True\n"


def test_children_of_a_fork_send_their_own_and_only_their_own(gateway: Gateway, users: str, tmp_path: Path) -> None:
    script = """
c = TelemetryClient(url, flush_interval=60)
for n in range(100): c.track('x', user_id=f'{users}parent-{n}')
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        for n in range(50): c.track('x', user_id=f'{users}{child}-{n}')
        s = c.stats()
        assert (s.created, s.unaccounted) == (50, 0), s
        sys.exit(0)
    children.append(pid)
for pid in children: assert os.waitpid(pid, 0)[1] == 0
c.track('x', user_id=f'{users}parent-last')
assert c.stats().created == 101, c.stats()
"""
    run(script, gateway.url, users, tmp_path)
    assert max(gateway.delivered(users, 251).values()) == 1


def test_a_fork_in_the_middle_of_everything_hangs_nobody(gateway: Gateway, users: str, tmp_path: Path) -> None:
    script = """
import threading
c = TelemetryClient(url, flush_interval=0.001, spool=folder, when_full='block', block_timeout=30)
stop = threading.Event()
sent = [0]
def write():
    while not stop.is_set():
        c.track('x', user_id=f'{users}parent-{sent[0]}'); sent[0] += 1
        time.sleep(0.0005)
t = threading.Thread(target=write); t.start()
children = []
for child in range(12):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        for n in range(10): c.track('x', user_id=f'{users}{child}-{n}')
        ok = c.flush(20) and c.close()
        if not ok:
            import faulthandler
            print(c.stats(), file=sys.stderr, flush=True); faulthandler.dump_traceback()
        os._exit(0 if ok else 1)
    children.append(pid)
    time.sleep(0.02)
codes = [os.waitpid(pid, 0)[1] for pid in children]
stop.set(); t.join()
assert codes == [0] * 12, codes
assert c.flush(30)
print(sent[0])
"""
    sent = int(run(script, gateway.url, users, tmp_path))
    assert max(gateway.delivered(users, 120 + sent).values()) == 1
    assert list(tmp_path.glob("*.spool")) == []


def test_a_server_that_forks_without_telling_python_loses_nothing(gateway: Gateway, users: str, tmp_path: Path) -> None:
    # As uWSGI does: no hook runs in the child.
    script = """
from telemetry import lifecycle
lifecycle._after_fork = lambda: None
import os as real
real.register_at_fork = lambda **_: None
c = TelemetryClient(url, spool=folder)
c.track('x', user_id=f'{users}parent')
pid = os.fork()
if pid == 0:
    for n in range(10): c.track('x', user_id=f'{users}{n}')
    assert c.stats().created == 10, c.stats()
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
"""
    run(script, gateway.url, users, tmp_path)
    assert max(gateway.delivered(users, 11).values()) == 1


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_send_before_they_end(
    method: str, gateway: Gateway, users: str, tmp_path: Path
) -> None:
    script = tmp_path / "work.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "from telemetry import TelemetryClient\n"
        "url, users, method = sys.argv[1:4]\n"
        "client = TelemetryClient(url, flush_interval=60, exit_timeout=60)\n"
        "def work(child):\n"
        "    for n in range(20): client.track('x', user_id=f'{users}{child}-{n}')\n"
        "if __name__ == '__main__':\n"
        "    context = multiprocessing.get_context(method)\n"
        "    children = [context.Process(target=work, args=(n,)) for n in range(2)]\n"
        "    [c.start() for c in children]; [c.join() for c in children]\n"
        "    assert [c.exitcode for c in children] == [0, 0]\n"
    )
    subprocess.run([sys.executable, str(script), gateway.url, users, method], check=True, timeout=60)
    assert max(gateway.delivered(users, 40).values()) == 1


def test_sigterm_sends_what_is_there_and_still_ends_the_process_as_a_signal(
    gateway: Gateway, users: str, tmp_path: Path
) -> None:
    script = """
c = TelemetryClient(url, flush_interval=60)
for n in range(200): c.track('x', user_id=users + str(n))
print('ready', flush=True)
while True: c.options
"""
    process = start(script, gateway.url, users, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert max(gateway.delivered(users, 200).values()) == 1


def test_sigterm_in_the_middle_of_a_call_hangs_nobody(gateway: Gateway, users: str, tmp_path: Path) -> None:
    script = """
c = TelemetryClient(url, flush_interval=0.01, when_full='block', block_timeout=10, max_queue_events=500)
n = 0
print('ready', flush=True)
while True:
    c.track('x', user_id=f'{users}{n}'); n += 1
    if n % 500 == 0: print(n, flush=True)
"""
    process = start(script, gateway.url, users, tmp_path)
    assert process.stdout is not None
    for _ in range(3):
        last = process.stdout.readline()
    process.terminate()
    rest = process.stdout.read()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    last = (rest.splitlines() or [last])[-1]
    # Every call that returned before the signal was taken in, and what was taken in was sent.
    assert max(gateway.delivered(users, int(last)).values()) == 1


def test_an_application_that_handles_sigterm_itself_is_left_in_charge(
    gateway: Gateway, users: str, tmp_path: Path
) -> None:
    script = """
def mine(*_):
    print('mine'); sys.exit(7)
signal.signal(signal.SIGTERM, mine)
c = TelemetryClient(url, flush_interval=60)
c.track('x', user_id=users)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(30)
"""
    process = start(script, gateway.url, users, tmp_path)
    printed, _ = process.communicate(timeout=30)
    assert (printed, process.returncode) == ("mine\n", 7)
    gateway.delivered(users, 1)


def kill_when(process: subprocess.Popen[str], lines: int) -> list[str]:
    """SIGKILL after so many lines; everything that was printed."""
    assert process.stdout is not None
    printed = [process.stdout.readline() for _ in range(lines)]
    os.kill(process.pid, signal.SIGKILL)
    # Not `communicate`, which does not see what `readline` has read ahead.
    rest = process.stdout.read()
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    return [line.strip() for line in (*printed, *rest.splitlines(True)) if line.endswith("\n")]


def test_with_a_spool_kill_9_costs_nothing_once_a_call_has_returned(
    gateway: Gateway, users: str, tmp_path: Path
) -> None:
    script = """
c = TelemetryClient('http://127.0.0.1:9', spool=folder, spool_writes='call')
for n in range(10**6): print(c.track('x', user_id=users + str(n)), flush=True)
"""
    ids = kill_when(start(script, "-", users, tmp_path), 300)
    assert len(ids) >= 300
    with TelemetryClient(gateway.url, spool=tmp_path) as heir:
        until(lambda: heir.stats().recovered >= len(ids), "what the killed process left is taken over")
        until(lambda: heir.stats().pending == 0, "it is sent")
        stats = heir.stats()
        assert stats.accepted + stats.duplicate == stats.recovered
        assert stats.unaccounted == 0
    rows = gateway.delivered(users, len(ids))
    # The call that was cut short may have been written.
    assert set(ids) <= set(rows)
    assert len(rows) <= len(ids) + 1
    assert max(rows.values()) == 1


def test_kill_9_while_it_sends_doubles_nothing(gateway: Gateway, users: str, tmp_path: Path) -> None:
    script = """
c = TelemetryClient(url, spool=folder, spool_writes='call', flush_interval=0.005, batch_events=20)
for n in range(10**6): print(c.track('x', user_id=users + str(n)), flush=True)
"""
    ids = kill_when(start(script, gateway.url, users, tmp_path), 1000)
    with TelemetryClient(gateway.url, spool=tmp_path) as heir:
        until(lambda: len(list(tmp_path.glob("*.spool"))) == 1, "what the killed process left is taken over")
        until(lambda: heir.stats().pending == 0, "everything is settled")
    rows = gateway.delivered(users, len(ids))
    assert set(ids) <= set(rows)
    assert len(rows) <= len(ids) + 1
    assert max(rows.values()) == 1


def test_with_a_spool_in_the_background_only_the_last_moment_is_at_risk(users: str, tmp_path: Path) -> None:
    script = """
c = TelemetryClient('http://127.0.0.1:9', spool=folder)
for n in range(1000): c.track('x', user_id=users + str(n))
while c.stats().spooled < 1000: time.sleep(0.01)
print('on disk', flush=True)
time.sleep(60)
"""
    assert kill_when(start(script, "-", users, tmp_path), 1) == ["on disk"]
    from telemetry.spool import Spool

    heir = Spool(tmp_path, 10**8)
    assert sum(heir.recover()) == 1000
    heir.close()


def test_processes_share_a_folder(gateway: Gateway, users: str, tmp_path: Path) -> None:
    script = """
c = TelemetryClient(url, spool=folder)
for n in range(300): c.track('x', user_id=f'{users}{os.getpid()}-{n}')
"""
    processes = [start(script, gateway.url, users, tmp_path) for _ in range(4)]
    for process in processes:
        _, complaints = process.communicate(timeout=60)
        assert process.returncode == 0, complaints
    assert max(gateway.delivered(users, 1200).values()) == 1
    assert list(tmp_path.glob("*.spool")) == []


def test_parent_and_child_never_make_the_same_id(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = TelemetryClient("http://127.0.0.1:9", exit_timeout=0)
    ours.track("x", user_id="u")
    # As if all of it happened within a millisecond.
    moment = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: moment)
    reader, writer = os.pipe()
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os.write(writer, f"{ours.track('x', user_id='u')}\n".encode())
            os._exit(0)
        os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        ids = [*lines.read().split(), ours.track("x", user_id="u")]
    assert len(set(ids)) == 3, ids
    ours.close(0)


def test_the_sender_imports_nothing(gateway: Gateway, users: str, tmp_path: Path) -> None:
    # A module that is being imported at a fork is locked in the child for ever.
    script = """
c = Client(url, spool=folder, spool_interval=60, flush_interval=60)
c.track('x', user_id=users, properties={'text': 'x' * 5000})
before = set(sys.modules)
assert c.flush(30)
print(sorted(set(sys.modules) - before))
"""
    assert run(script, gateway.url, users, tmp_path) == "[]\n"
