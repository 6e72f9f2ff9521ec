"""A collector of a few lines that remembers what it was sent and can be told to misbehave."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Fault = Callable[["Handler", list[dict[str, Any]]], bool]
"""Called with a request's handler and events; True where it has dealt with the request."""


@dataclass
class Capture:
    """What a `CapturingCollector` was sent and accepted."""

    events: list[dict[str, Any]] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: int = 0
    fault: Fault | None = None
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ids(self) -> Counter[str]:
        return Counter(event["messageId"] for event in self.events)

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event.get("event") == name]


class Handler(BaseHTTPRequestHandler):
    """Takes POST /v1/batch."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer: two would wait for a delayed acknowledgement
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        events = json.loads(body)["batch"]
        capture = self.server.capture
        capture.requests += 1
        if capture.fault is not None and capture.fault(self, events):
            return
        capture.events += events
        capture.batches.append(len(events))
        capture.headers.append(dict(self.headers.items()))
        self.answer(200, {"success": True, "accepted": len(events), "quarantined": []})

    def answer(self, status: int, body: Any, **headers: str) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def reset(self) -> None:
        """End the connection with a reset instead of an answer."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    """The server; its sockets close with it."""

    daemon_threads = True
    capture: Capture

    def handle_error(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def collector(port: int = 0, capture: Capture | None = None) -> Iterator[Capture]:
    """Serve on a port until the block ends."""
    capture = capture or Capture()
    server = Server(("127.0.0.1", port), Handler)
    server.capture = capture
    capture.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield capture
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Return when `condition` holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def last_json(process: subprocess.Popen[str], timeout_s: float = 30.0) -> Any:
    """The last line an app printed, once it has ended."""
    output, _ = process.communicate(timeout=timeout_s)
    return json.loads(output.splitlines()[-1])
