"""A gateway made of a few lines, for tests of the client's own behaviour."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Optional

#: Status, headers, body.
Answer = tuple[int, dict[str, str], bytes]


def accepted(count: int, **other: Any) -> Answer:
    """The answer of a gateway that took everything."""
    body = {"code": "accepted", "message": "", "accepted": count, "rejected": 0, "duplicate": 0, "results": [], **other}
    return 202, {}, json.dumps(body).encode()


class StubGateway:
    """Keeps what it took. `respond` may answer in its place; what that accepts is up to the test."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.requests: list[dict[str, Any]] = []
        self.respond: Optional[Callable[[list[dict[str, Any]]], Optional[Answer]]] = None
        self.connections = 0
        self.keep_alive = True
        self._lock = threading.Lock()
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                stub.connections += 1

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, headers, page = stub.take(self.headers, body)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(page)))
                self.end_headers()
                self.wfile.write(page)
                # Without a word, as a load balancer does to idle connections.
                self.close_connection = not stub.keep_alive

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> StubGateway:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, headers: Any, body: bytes) -> Answer:
        size = len(body)
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        batch = json.loads(body)
        with self._lock:
            request = {"headers": {name.lower(): value for name, value in headers.items()}, "batch": batch}
            self.requests.append({**request, "size": size})
            answer = self.respond(batch["events"]) if self.respond is not None else None
            if answer is None:
                self.events.extend(batch["events"])
                answer = accepted(len(batch["events"]))
        return answer

    def ids(self) -> Counter[str]:
        """Event ids, each with how often it came."""
        with self._lock:
            return Counter(event["event_id"] for event in self.events)
