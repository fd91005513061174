"""Celery: every task as a performance event, failures as error events; flushed when a worker's child ends.

from telemetry.integrations.celery import instrument

instrument(client)
"""

from __future__ import annotations

import time
from typing import Any

from celery import signals

from ..client import TelemetryClient


def instrument(client: TelemetryClient) -> None:
    """Listens to the signals of all tasks of this process and of its children."""

    def started(task: Any = None, **_: Any) -> None:
        task.request.telemetry_started = time.perf_counter()

    def ended(task: Any = None, state: Any = None, **_: Any) -> None:
        begun = getattr(task.request, "telemetry_started", None)
        if begun is not None:
            took = round((time.perf_counter() - begun) * 1000, 3)
            client.performance(task.name, took, status="ok" if state == "SUCCESS" else "error")

    def failed(sender: Any = None, exception: Any = None, **_: Any) -> None:
        client.error(exception, handled=False, operation=sender.name)

    def leaving(**_: Any) -> None:
        # Children end without the interpreter's farewell.
        client.flush(client.options.exit_timeout)

    signals.task_prerun.connect(started, weak=False)
    signals.task_postrun.connect(ended, weak=False)
    signals.task_failure.connect(failed, weak=False)
    signals.worker_process_shutdown.connect(leaving, weak=False)
