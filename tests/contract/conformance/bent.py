"""A twin bent on purpose: a small proxy that passes everything on and changes one kind of answer on the way back."""

import contextlib
import http.client
import select
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
from msgspec import Struct

HOP = {"connection", "transfer-encoding", "content-length", "date", "server"}


class Reply(Struct):
    """What the twin answered; a bend changes it in place."""

    status: int
    headers: dict[str, str]
    body: bytes

    def edit(self, change: Callable[[Any], None]) -> None:
        """Change the JSON of a success."""
        if self.status == 200:
            told = msgspec.json.decode(self.body)
            change(told)
            self.body = msgspec.json.encode(told)


Bend = Callable[[str, str, Reply], None]
"""Gets method, path and reply."""


@contextlib.contextmanager
def bent(port: int, bend: Bend) -> Iterator[str]:
    """The address of a proxy in front of a twin on this port."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the parent's name
            """Nobody reads it."""

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else None
            reply = _fetch(port, self.command, self.path, dict(self.headers.items()), body)
            bend(self.command, self.path, reply)
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815 -- the names that the parent calls

    with _running(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        yield f"http://127.0.0.1:{server.server_address[1]}"


def _fetch(port: int, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30.0)
    try:
        connection.request(method, path, body=body, headers=dict(headers))
        response = connection.getresponse()
        kept = {name.lower(): value for name, value in response.getheaders() if name.lower() not in HOP}
        return Reply(response.status, kept, response.read())
    finally:
        connection.close()


BendFrame = Callable[[bytes], bytes]
"""Gets a whole reply frame and answers what goes out."""


@contextlib.contextmanager
def bent_station(port: int, bend: BendFrame) -> Iterator[int]:
    """The port of a proxy in front of a station; it bends each reply frame."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port), timeout=30.0) as station:
                waiting = b""
                while True:
                    ready, _, _ = select.select([self.request, station], [], [], 30.0)
                    if self.request in ready:
                        asked = self.request.recv(4096)
                        if not asked:
                            return
                        station.sendall(asked)
                    if station in ready:
                        waiting += station.recv(4096)
                        while len(waiting) >= 6 and len(waiting) >= (size := 6 + int.from_bytes(waiting[4:6], "big")):
                            self.request.sendall(bend(waiting[:size]))
                            waiting = waiting[size:]

    with _running(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as server:
        yield server.server_address[1]


@contextlib.contextmanager
def _running(server: socketserver.TCPServer) -> Iterator[socketserver.TCPServer]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10.0)
