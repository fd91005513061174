"""Events on disk, so that they outlive a crash of the process and an outage of hours.

A folder is shared by all processes of an application. Each writes a SQLite file of its own, which it holds locked for
as long as it lives; a file that can be locked has lost its process, and whoever notices takes its events over. An
event's id is the key, so that taking over twice is taking over once.

Commits are not forced to the disk (`synchronous=NORMAL` with a write-ahead log): a killed process loses nothing, a
power failure the last moments.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Optional

from .queue import Entry

_log = logging.getLogger("telemetry")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    is_recovered INTEGER NOT NULL DEFAULT 0,
    payload BLOB NOT NULL
)"""
# A crash while events are taken over leaves them in two files.
_INDEX = "CREATE UNIQUE INDEX IF NOT EXISTS recovered ON events (event_id) WHERE is_recovered"
#: Rows of a lost file are taken over so many at a time.
_PORTION = 500
_SUFFIX = ".spool"


class SpoolFullError(Exception):
    """The folder's files would grow beyond their limit, or the disk is full."""


class Spool:
    """The events of one process on disk. Safe to use from several threads."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._lock = threading.RLock()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._db: Optional[sqlite3.Connection] = None
        while self._db is None:
            self._path = folder / f"{os.getpid()}-{secrets.token_hex(6)}{_SUFFIX}"
            # Between its making and its locking somebody may take it for a lost one, and remove it.
            try:
                db = _open(self._path, max_bytes)
            except sqlite3.OperationalError:
                if self._path.exists():
                    raise
                continue
            if self._path.exists():
                self._db = db
            else:
                db.close()
        #: Events of this process (not of others) that lie here.
        self.own = 0
        self._rows = self._given = 0
        self._cursor = 0

    def add(self, entries: Iterable[Entry]) -> None:
        """Writes events; all or, with `SpoolFullError`, none."""
        rows = [(entry.event_id, entry.payload) for entry in entries]
        with self._lock:
            db = self._connection()
            self._check_room(db, sum(len(payload) + 128 for _, payload in rows))
            try:
                with db:
                    db.executemany("INSERT INTO events (event_id, payload) VALUES (?, ?)", rows)
            except sqlite3.OperationalError as error:
                raise SpoolFullError(str(error)) from None
            self.own += len(rows)
            self._rows += len(rows)

    def _check_room(self, db: sqlite3.Connection, size: int) -> None:
        pages, free, page = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in _SIZES)
        # Pages are not filled to the last byte.
        if (pages - free) * page + size * 9 // 8 > self._max_bytes:
            raise SpoolFullError("the spool is full")

    def take(self, max_events: int, max_bytes: int) -> list[Entry]:
        """The next events that were not given out yet, at least one when there is any. They stay on disk."""
        taken: list[Entry] = []
        size = 0
        with self._lock:
            query = "SELECT row, event_id, is_recovered, payload FROM events WHERE row > ? ORDER BY row LIMIT ?"
            for row, event_id, is_recovered, payload in self._connection().execute(query, (self._cursor, max_events)):
                size += len(payload) + 1
                if taken and size > max_bytes:
                    break
                taken.append(Entry(event_id, payload, row, bool(is_recovered)))
            if taken:
                self._cursor = taken[-1].row
                self._given += len(taken)
        return taken

    def remove(self, entries: list[Entry]) -> None:
        """Events that were given out and have their fate."""
        with self._lock:
            db = self._connection()
            try:
                with db:
                    db.executemany("DELETE FROM events WHERE row = ?", [(entry.row,) for entry in entries])
            except sqlite3.Error as error:
                # Whoever takes the file over sends them again, under the same ids.
                _log.error("telemetry: events that were sent could not be removed from the disk: %s", error)
            self._rows -= len(entries)
            self._given -= len(entries)
            self.own -= sum(1 for entry in entries if not entry.is_recovered)
            if self._rows == 0:
                self._shrink(db)

    def _shrink(self, db: sqlite3.Connection) -> None:
        """After an outage the file is large and empty."""
        if db.execute("PRAGMA page_count").fetchone()[0] > 64:
            with contextlib.suppress(sqlite3.OperationalError):
                db.execute("VACUUM")
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def __len__(self) -> int:
        return self._rows

    def not_given(self) -> int:
        """Events that were not given out yet."""
        return self._rows - self._given

    def has_more(self) -> bool:
        """True when there are any that were not given out yet."""
        return self._rows > self._given

    def size(self) -> int:
        """Bytes of this process' files."""
        files = [self._path, Path(f"{self._path}-wal")]
        return sum(file.stat().st_size for file in files if file.exists())

    def recover(self) -> Iterator[int]:
        """Takes over what processes that ended left behind; gives the number of events file by file, each before its
        file is removed."""
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if path == self._path:
                continue
            with self._lock:
                try:
                    lost = _open(path, self._max_bytes, timeout=0.0)
                except sqlite3.OperationalError:
                    # Locked: its process lives. (Or it was taken over and removed just now.)
                    continue
                except sqlite3.DatabaseError:
                    _set_aside(path)
                    continue
                count, is_empty = self._adopt(lost)
            if count:
                yield count
            with self._lock:
                if is_empty:
                    _delete(path)
                lost.close()
                if is_empty and os.name == "nt":  # where an open file cannot be removed
                    _delete(path)

    def _adopt(self, lost: sqlite3.Connection) -> tuple[int, bool]:
        """How many events were new here, and whether all were taken over."""
        count = 0
        db = self._connection()
        try:
            while True:
                rows = lost.execute("SELECT row, event_id, payload FROM events ORDER BY row LIMIT ?", (_PORTION,))
                portion = rows.fetchall()
                if not portion:
                    return count, True
                with db:
                    before = db.total_changes
                    values = [(event_id, payload) for _, event_id, payload in portion]
                    query = "INSERT OR IGNORE INTO events (event_id, is_recovered, payload) VALUES (?, 1, ?)"
                    db.executemany(query, values)
                    moved = db.total_changes - before
                self._rows += moved
                count += moved
                # Only now: a crash in between leaves them in both files, under the same ids.
                with lost:
                    lost.execute("DELETE FROM events WHERE row <= ?", (portion[-1][0],))
        except sqlite3.DatabaseError as error:
            _log.warning("telemetry: a spool file could not be taken over: %s", error)
            return count, False

    def close(self) -> None:
        """Lets go of the file; an empty one is removed."""
        with self._lock:
            if self._db is None:
                return
            is_empty = self._rows == 0
            if is_empty:
                _delete(self._path)
            self._db.close()
            self._db = None
            if is_empty and os.name == "nt":
                _delete(self._path)

    def before_fork(self) -> None:
        """Waits until no thread is inside SQLite: a lock of its own, held at the fork, would be held in the child for
        ever."""
        self._lock.acquire()

    def after_fork_in_parent(self) -> None:
        """The other end of `before_fork`."""
        self._lock.release()

    def forget(self) -> None:
        """After a fork: the file is the parent's. Closing the connection here would do to the parent's log what only
        its owner may, so it is never closed, not even at the end of the interpreter."""
        if self._db is not None:
            with contextlib.suppress(Exception):
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._db))
            self._db = None

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise SpoolFullError("the spool is closed")
        return self._db


_SIZES = ("page_count", "freelist_count", "page_size")


def _open(path: Path, max_bytes: int, timeout: float = 5.0) -> sqlite3.Connection:
    """Opens a file and locks it for as long as the connection lives; `OperationalError` when another holds it."""
    is_new = not path.exists()
    if is_new:
        if timeout == 0.0:
            raise sqlite3.OperationalError("gone")
        path.touch(mode=0o600)
    db = sqlite3.connect(str(path), timeout=timeout, check_same_thread=False)
    try:
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA wal_autocheckpoint=256")
        db.execute("PRAGMA journal_size_limit=1048576")
        page = db.execute("PRAGMA page_size").fetchone()[0]
        db.execute(f"PRAGMA max_page_count={max(max_bytes // page, 64)}")
        # The lock is taken by the first write.
        db.execute("BEGIN IMMEDIATE")
        db.execute(_SCHEMA)
        db.execute(_INDEX)
        db.commit()
    except BaseException:
        db.close()
        raise
    return db


def _delete(path: Path) -> None:
    """Removes a file and its log, while it is still locked: nobody else can be about to use it."""
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        with contextlib.suppress(OSError):
            name.unlink()


def _set_aside(path: Path) -> None:
    """A file that is no database is kept for whoever wants to look, and not looked at again."""
    _log.error("telemetry: a spool file is damaged; it is kept as %s.damaged", path.name)
    with contextlib.suppress(OSError):
        path.rename(f"{path}.damaged")
