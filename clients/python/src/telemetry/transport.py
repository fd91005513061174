"""The way to the gateway: one kept-alive HTTP connection, gzip, proxies, time limits."""

from __future__ import annotations

import base64

# `getaddrinfo` imports it at the first connection, on the sender's thread; a fork in that moment would leave the child
# with a module that is locked for ever.
import encodings.idna  # noqa: F401
import gzip
import http.client
import socket
import ssl
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Optional, Protocol
from urllib.parse import unquote, urlsplit

from .errors import ConfigurationError
from .identity import rfc3339
from .verdict import Verdict, judge, unreachable

#: Bodies below this gain nothing from compression.
_GZIP_FROM = 1024
#: An answer lists at most what was sent; more than this is not read.
_LONGEST_ANSWER = 8 * 1024 * 1024


class Transport(Protocol):
    """Carries events somewhere and says what became of each. Used by one thread at a time."""

    def send(self, payloads: Sequence[bytes], timeout: float) -> Verdict:
        """Sends events (each one's JSON) together; never raises for what happens on the way."""

    def close(self) -> None:
        """Lets go of connections. The next `send` makes new ones."""

    def forget(self) -> None:
        """After a fork: the connections are the parent's; lets go of them without a word to the other side."""

    @property
    def bytes_sent(self) -> int:
        """Size of the last body, as it was sent."""


@dataclass(frozen=True)
class Response:
    """An answer, with header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpTransport:
    """`POST /api/v1/events`."""

    def __init__(
        self,
        url: str,
        api_key: Optional[str] = None,
        *,
        compress: bool = True,
        ssl_context: Optional[ssl.SSLContext] = None,
        user_agent: str = "ttf-telemetry",
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"url: `{_shown(url)}` is no address such as http://localhost:8080")
        try:
            port = parts.port
        except ValueError:
            raise ConfigurationError(f"url: `{_shown(url)}` has a port that is none") from None
        self._is_tls = parts.scheme == "https"
        self._host, self._port = parts.hostname, port or (443 if self._is_tls else 80)
        self._base = parts.path.rstrip("/")
        self._context = ssl_context
        self._compress = compress
        self._connection: Optional[http.client.HTTPConnection] = None
        self._is_fresh = True
        self._headers = {"User-Agent": user_agent, "Accept": "application/json"}
        if api_key:
            if not (api_key.isascii() and api_key.isprintable()):
                raise ConfigurationError("api_key: holds characters that no header can carry")
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._proxy = _proxy_for(parts.scheme, parts.netloc.rpartition("@")[2])
        self.bytes_sent = 0

    def send(self, payloads: Sequence[bytes], timeout: float) -> Verdict:
        """One request; see `Transport`."""
        sent_at = rfc3339(time.time_ns())
        body = b'{"sent_at":"%s","events":[%s]}' % (sent_at.encode(), b",".join(payloads))
        headers = {"Content-Type": "application/json"}
        if self._compress and len(body) >= _GZIP_FROM:
            # Level 1: most of the gain for a fraction of the host's time.
            body = gzip.compress(body, compresslevel=1, mtime=0)
            headers["Content-Encoding"] = "gzip"
        self.bytes_sent = len(body)
        try:
            response = self.request("POST", "/api/v1/events", body, headers, timeout)
        except (OSError, http.client.HTTPException) as error:
            return unreachable(describe(error))
        return judge(response.status, response.headers, response.body, len(payloads))

    def request(
        self, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str], timeout: float
    ) -> Response:
        """One exchange; raises `OSError` or `HTTPException`. `timeout`: seconds for all of it."""
        deadline = time.monotonic() + timeout
        try:
            return self._exchange(method, path, body, headers, deadline)
        except (ConnectionError, http.client.BadStatusLine, http.client.CannotSendRequest):
            if self._is_fresh:
                raise
            # A connection that lay idle was closed by the other side: that is no failure yet.
            return self._exchange(method, path, body, headers, deadline)

    def _exchange(
        self, method: str, path: str, body: Optional[bytes], headers: Mapping[str, str], deadline: float
    ) -> Response:
        connection = self._connected(deadline)
        is_done = False
        try:
            forwarded = self._proxy.headers if self._proxy is not None and not self._is_tls else {}
            connection.request(method, self._target(path), body, {**self._headers, **forwarded, **headers})
            response = connection.getresponse()
            answer = self._read(response, connection, deadline)
            self._is_fresh = False
            is_done = not response.will_close
            return Response(response.status, {name.lower(): value for name, value in response.getheaders()}, answer)
        finally:
            if not is_done:
                self.close()

    def _read(
        self, response: http.client.HTTPResponse, connection: http.client.HTTPConnection, deadline: float
    ) -> bytes:
        """The whole body, within the time there is: a peer that sends a byte a second is no peer."""
        chunks: list[bytes] = []
        size = 0
        while True:
            if connection.sock is not None:
                connection.sock.settimeout(_remaining(deadline))
            chunk = response.read1(65536)
            if not chunk:
                break
            chunks.append(chunk)
            size += len(chunk)
            if size > _LONGEST_ANSWER:
                raise http.client.HTTPException("the answer is too long")
            _remaining(deadline)
        # `read1` ends quietly where the connection was cut.
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        # Or the connection takes no further request.
        response.close()
        return b"".join(chunks)

    def _connected(self, deadline: float) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = self._connect(_remaining(deadline))
            self._is_fresh = True
        elif self._connection.sock is not None:
            self._connection.sock.settimeout(_remaining(deadline))
        return self._connection

    def _connect(self, timeout: float) -> http.client.HTTPConnection:
        host, port = self._host, self._port
        if self._proxy is not None:
            host, port = self._proxy.host, self._proxy.port
        connection: http.client.HTTPConnection
        if self._is_tls:
            context = self._context or ssl.create_default_context()
            connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
            if self._proxy is not None:
                connection.set_tunnel(self._host, self._port, self._proxy.headers)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _target(self, path: str) -> str:
        if self._proxy is None or self._is_tls:
            return self._base + path
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}{self._base}{path}"

    def close(self) -> None:
        """See `Transport`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def forget(self) -> None:
        """See `Transport`."""
        self._connection = None


@dataclass(frozen=True)
class _Proxy:
    host: str
    port: int
    headers: dict[str, str]


def _proxy_for(scheme: str, host: str) -> Optional[_Proxy]:
    """The proxy that `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` ask for."""
    url = urllib.request.getproxies().get(scheme)
    if not url or urllib.request.proxy_bypass(host):
        return None
    parts = urlsplit(url if "//" in url else f"//{url}")
    if not parts.hostname:
        return None
    headers = {}
    if parts.username:
        account = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(account).decode()
    return _Proxy(parts.hostname, parts.port or 8080, headers)


def _remaining(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise socket.timeout("timed out")
    return remaining


def _shown(url: str) -> str:
    """An address without the password somebody may have put there."""
    return url.rpartition("@")[2] if "@" in url else url


def describe(error: Exception) -> str:
    """An error of the network in a few words."""
    if isinstance(error, socket.timeout):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate cannot be trusted: {error.verify_message}"
    if isinstance(error, http.client.IncompleteRead):
        return "the answer was cut off"
    if isinstance(error, socket.gaierror):
        return "the host's name cannot be resolved"
    text = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {text}"[:200] if text else type(error).__name__
