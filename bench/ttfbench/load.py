"""Sends batches over keep-alive connections and counts the answer for every event."""

import http.client
import json
import queue
import threading
import time
from dataclasses import dataclass, field

# A batch that is not through by then fails the benchmark.
PATIENCE_SECONDS = 120


@dataclass
class Tally:
    """What the gateway answered, counted by the sender."""

    accepted: int = 0
    rejected: int = 0
    retried: int = 0
    answers: dict[int, int] = field(default_factory=dict)
    request_seconds: list[float] = field(default_factory=list)
    started: float = 0.0
    ended: float = 0.0

    def add(self, other: "Tally") -> None:
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.retried += other.retried
        for status, count in other.answers.items():
            self.answers[status] = self.answers.get(status, 0) + count
        self.request_seconds += other.request_seconds


def body_of(events: list[bytes]) -> bytes:
    return b'{"events":[' + b",".join(events) + b"]}"


class Sender:
    """One connection."""

    def __init__(self, host: str, port: int) -> None:
        self.connection = http.client.HTTPConnection(host, port, timeout=60)
        self.tally = Tally()

    def send(self, events: list[bytes], body: bytes | None = None) -> None:
        """Sends until every event is accepted or rejected; what is to be sent again is sent again."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        body = body or body_of(events)
        while True:
            began = time.perf_counter()
            self.connection.request("POST", "/api/v1/events", body, {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            answer = response.read()
            self.tally.request_seconds.append(time.perf_counter() - began)
            status = response.status
            self.tally.answers[status] = self.tally.answers.get(status, 0) + 1
            if status == 202:
                self.tally.accepted += len(events)
                return
            events = self.left(status, events, json.loads(answer))
            if not events:
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(events)} events were not taken within {PATIENCE_SECONDS} s")
            self.tally.retried += len(events)
            time.sleep(float(response.headers.get("Retry-After", 1)))
            body = body_of(events)

    def left(self, status: int, events: list[bytes], answer: dict) -> list[bytes]:
        """The events that are to be sent again."""
        results = answer.get("results")
        if status in (207, 422, 503) and results:
            fates = {result["index"]: result["status"] for result in results}
            again = [event for index, event in enumerate(events) if fates.get(index) in ("retry", "limited")]
            rejected = sum(1 for fate in fates.values() if fate == "rejected")
            self.tally.rejected += rejected
            self.tally.accepted += len(events) - len(again) - rejected
            return again
        if status in (429, 503):
            return events
        raise RuntimeError(f"the gateway answered {status}: {answer}")


def full_speed(host: str, port: int, batches: list[list[bytes]], connections: int) -> Tally:
    """Sends all batches as fast as the gateway answers."""
    bodies = [body_of(batch) for batch in batches]
    work: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(batches)):
        work.put(index)

    def take(sender: Sender) -> None:
        while True:
            try:
                index = work.get_nowait()
            except queue.Empty:
                return
            sender.send(batches[index], bodies[index])

    return together([(Sender(host, port), take) for _ in range(connections)])


def steady(host: str, port: int, batches: list[list[bytes]], per_second: float) -> Tally:
    """Sends batches on a schedule over two connections; one that is late does not shift those after it."""

    def paced(first: int):
        def take(sender: Sender) -> None:
            begin = time.monotonic()
            for index in range(first, len(batches), 2):
                time.sleep(max(0.0, begin + index / per_second - time.monotonic()))
                sender.send(batches[index])

        return take

    return together([(Sender(host, port), paced(first)) for first in (0, 1)])


def together(senders: list) -> Tally:
    failures: list[BaseException] = []

    def guarded(sender: Sender, take) -> None:
        try:
            take(sender)
        except BaseException as error:  # reported by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=pair) for pair in senders]
    total = Tally(started=time.monotonic())
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total.ended = time.monotonic()
    if failures:
        raise failures[0]
    for sender, _ in senders:
        total.add(sender.tally)
    return total
