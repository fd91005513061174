"""A proxy that does to requests what networks do."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: What can be done to a request.
FAULTS = (
    "pass",
    "reset_before",  # the connection is cut; the gateway never sees the request
    "reset_after",  # the gateway has taken the events; the connection is cut before the answer
    "timeout_before",  # nothing is passed on, nothing is answered
    "timeout_after",  # passed on, not answered
    "partial",  # half of the answer, then the end
    "garbage",  # 200 and a page of HTML, as captive portals do
    "slow",  # the answer a few bytes at a time
    "429",
    "503",
    "502",
)


class FaultyProxy:
    """Takes the next fault from `script` for each request; `pass` when it is empty."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.script: list[str] = []
        self.done: Counter[str] = Counter()
        self.retry_after = "1"
        self.stall = 30.0
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                proxy.handle(self, body)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: Any) -> None:
                pass  # the connections are cut on purpose

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> FaultyProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def handle(self, request: Any, body: bytes) -> None:
        with self._lock:
            fault = self.script.pop(0) if self.script else "pass"
            self.done[fault] += 1
        if fault in ("429", "503", "502"):
            page = b"" if fault == "502" else b'{"code":"overloaded","message":"later"}'
            headers = {} if fault == "502" else {"Retry-After": self.retry_after}
            self._answer(request, int(fault), headers, page)
        elif fault == "garbage":
            self._answer(request, 200, {"Content-Type": "text/html"}, b"<html>Please log in</html>")
        elif fault == "reset_before":
            self._cut(request)
        elif fault == "timeout_before":
            self.stopping.wait(self.stall)
            self._cut(request)
        else:
            self._pass_on(request, body, fault)

    def _pass_on(self, request: Any, body: bytes, fault: str) -> None:
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream, timeout=30)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        upstream.request(request.command, request.path, body, headers)
        answer = upstream.getresponse()
        page = answer.read()
        upstream.close()
        if fault == "reset_after":
            self._cut(request)
        elif fault == "timeout_after":
            self.stopping.wait(self.stall)
            self._cut(request)
        else:
            kept = {
                name: value for name, value in answer.getheaders() if name.lower() in ("content-type", "retry-after")
            }
            self._answer(request, answer.status, kept, page, fault)

    def _answer(self, request: Any, status: int, headers: dict[str, str], page: bytes, fault: str = "pass") -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(page)))
        request.end_headers()
        if fault == "partial":
            request.wfile.write(page[: len(page) // 2])
            request.wfile.flush()
            self._cut(request)
        elif fault == "slow":
            for start in range(0, len(page), 16):
                request.wfile.write(page[start : start + 16])
                request.wfile.flush()
                time.sleep(0.005)
        else:
            request.wfile.write(page)

    def _cut(self, request: Any) -> None:
        """RST instead of FIN, as a peer that crashed sends it."""
        request.close_connection = True
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.connection.close()
