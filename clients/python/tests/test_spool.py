"""Events on disk outlive their process, within their limit, and belong to one process at a time."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

from telemetry.queue import Entry
from telemetry.spool import Spool, SpoolFullError

LIMIT = 4 * 1024 * 1024


def entries(*names: str, size: int = 10) -> list[Entry]:
    return [Entry(name, b"x" * size) for name in names]


def names(taken: list[Entry]) -> list[str]:
    return [entry.event_id for entry in taken]


def test_events_are_given_out_once_in_their_order_and_stay_until_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.add(entries("a", "b", "c"))
    first = spool.take(2, 10**6)
    assert names(first) == ["a", "b"]
    assert names(spool.take(10, 10**6)) == ["c"]
    assert spool.take(10, 10**6) == []
    assert len(spool) == 3
    spool.remove(first)
    assert (len(spool), spool.own) == (1, 1)
    spool.close()


def test_bytes_bound_what_is_given_out_but_never_to_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.add(entries("a", "b", "c", size=100))
    assert names(spool.take(10, 150)) == ["a"]
    assert names(spool.take(10, 1)) == ["b"]
    spool.close()


def test_an_empty_file_is_removed_at_the_end(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.add(entries("a"))
    spool.remove(spool.take(1, 100))
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_behind_is_taken_over_once(tmp_path: Path) -> None:
    left = Spool(tmp_path, LIMIT)
    left.add(entries("a", "b"))
    left.close()
    heir, other = Spool(tmp_path, LIMIT), Spool(tmp_path, LIMIT)
    assert sum(heir.recover()) == 2
    assert sum(other.recover()) == 0
    taken = heir.take(10, 10**6)
    assert names(taken) == ["a", "b"]
    assert all(entry.is_recovered for entry in taken)
    assert heir.own == 0
    heir.close()
    other.close()


def test_the_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    living = Spool(tmp_path, LIMIT)
    living.add(entries("a"))
    other = Spool(tmp_path, LIMIT)
    assert sum(other.recover()) == 0
    assert len(living) == 1
    living.close()
    other.close()


def test_the_file_of_a_killed_process_is_taken_over(tmp_path: Path, python: str) -> None:
    script = (
        "import sys, os, signal; from pathlib import Path\n"
        "from telemetry.spool import Spool; from telemetry.queue import Entry\n"
        "spool = Spool(Path(sys.argv[1]), 4 << 20)\n"
        "spool.add([Entry(f'e{n}', b'x' * 100) for n in range(1000)])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([python, "-c", script, str(tmp_path)], check=False)
    assert killed.returncode == -9
    heir = Spool(tmp_path, LIMIT)
    assert sum(heir.recover()) == 1000
    heir.close()


def test_a_crash_while_taking_over_doubles_nothing(tmp_path: Path) -> None:
    left = Spool(tmp_path, LIMIT)
    left.add(entries("a", "b"))
    left.close()
    # As if it had crashed after its own commit, before the other's.
    crashed = Spool(tmp_path, LIMIT)
    with crashed._connection() as database:
        database.execute("INSERT INTO events (event_id, is_recovered, payload) VALUES ('a', 1, 'x')")
    crashed._rows = 1
    crashed.close()
    heir = Spool(tmp_path, LIMIT)
    assert sum(heir.recover()) == 2
    assert sorted(names(heir.take(10, 10**6))) == ["a", "b"]
    heir.close()


def test_it_stays_within_its_limit_and_has_room_again(tmp_path: Path) -> None:
    limit = 1024 * 1024
    spool = Spool(tmp_path, limit)
    added = 0

    def fill() -> None:
        nonlocal added
        while True:
            spool.add([Entry(f"e{added + n}", b"x" * 1000) for n in range(20)])
            added += 20

    with pytest.raises(SpoolFullError):
        fill()
    assert added > 600
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < limit + 1.6 * 1024 * 1024, (
        "the log is bounded, too"
    )
    while taken := spool.take(100, 10**6):
        spool.remove(taken)
    assert len(spool) == 0
    assert spool.size() < 200 * 1024, "what was a large file is small again"
    spool.add(entries("again"))
    spool.close()


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "spool"
    spool = Spool(folder, LIMIT)
    spool.add(entries("a"))
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in folder.iterdir()} == {0}
    spool.close()


def test_a_damaged_file_is_kept_aside(tmp_path: Path) -> None:
    (tmp_path / "1-dead.spool").write_bytes(b"this is no database, nor was it ever one" * 100)
    spool = Spool(tmp_path, LIMIT)
    assert sum(spool.recover()) == 0
    assert (tmp_path / "1-dead.spool.damaged").exists()
    assert sum(spool.recover()) == 0
    spool.close()


def test_the_child_of_a_fork_harms_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, LIMIT)
    spool.add(entries(*[f"e{n}" for n in range(100)]))
    child = os.fork()
    if child == 0:
        spool.forget()
        del spool
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    spool.add(entries("after"))
    assert len(spool.take(1000, 10**6)) == 101
    with pytest.raises(sqlite3.OperationalError):
        sqlite3.connect(str(next(tmp_path.glob("*.spool"))), timeout=0).execute("SELECT count(*) FROM events")
    spool.close()
