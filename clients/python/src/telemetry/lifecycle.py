"""The ends and beginnings of processes: exit, fork, SIGTERM, the children of `multiprocessing`."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, Optional, Protocol


class Lasting(Protocol):
    """What wants to know of the end of the process, and of forks."""

    options: Any

    def close(self, timeout: Optional[float] = None) -> bool:
        """The process ends."""

    def before_fork(self) -> None:
        """A child is about to be made."""

    def after_fork_in_parent(self) -> None:
        """It was made; this is the parent."""

    def after_fork(self) -> None:
        """This is the child now. Must not wait, log or start anything."""


# Held until closed: what nobody refers to any more may still have events to send.
_living: list[Lasting] = []
#: Those that were told of the fork that is under way.
_forking: list[Lasting] = []
_is_registered = False
_multiprocessing_pid = -1


def register(lasting: Lasting) -> None:
    """From now on `lasting` is told. Calling again is harmless, and in the child of a fork needed."""
    global _is_registered
    if lasting not in _living:
        _living.append(lasting)
    if not _is_registered:
        _is_registered = True
        atexit.register(_at_exit)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)
    _register_with_multiprocessing()
    if lasting.options.handle_sigterm:
        _handle_sigterm()


def unregister(lasting: Lasting) -> None:
    """`lasting` was closed."""
    with contextlib.suppress(ValueError):
        _living.remove(lasting)


def _at_exit() -> None:
    for lasting in list(_living):
        lasting.close()


def _before_fork() -> None:
    _forking[:] = _living
    for lasting in _forking:
        lasting.before_fork()


def _after_fork_in_parent() -> None:
    for lasting in _forking:
        lasting.after_fork_in_parent()


def _after_fork() -> None:
    for lasting in _living:
        lasting.after_fork()


def _register_with_multiprocessing() -> None:
    """Children of `multiprocessing` end without `atexit`, but with finalizers of their own."""
    global _multiprocessing_pid
    process = sys.modules.get("multiprocessing.process")
    if process is None or process.parent_process() is None or _multiprocessing_pid == os.getpid():
        return
    from multiprocessing.util import Finalize  # noqa: PLC0415 – loaded already

    _multiprocessing_pid = os.getpid()
    Finalize(None, _at_exit, exitpriority=0)


def _handle_sigterm() -> None:
    """Only where SIGTERM would end the process on the spot; who handles it ends the interpreter, and that is enough."""
    if threading.current_thread() is not threading.main_thread():
        return
    with contextlib.suppress(ValueError, OSError, AttributeError):
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _on_sigterm)


def _on_sigterm(number: int, _frame: Optional[FrameType]) -> None:
    try:
        _at_exit()
    finally:
        # The parent is to see that it was the signal.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
