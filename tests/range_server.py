"""A server of files in ranges, for tests of what is read behind a URL."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Ranges(BaseHTTPRequestHandler):
    """Answers with the part of a file that is asked for."""

    protocol_version = "HTTP/1.1"
    folder: Path

    def log_message(self, *_: Any) -> None:
        """Be still."""

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = self.folder / unquote(urlsplit(self.path).path).lstrip("/")
        status, data = 404, b""
        if path.is_file():
            status, data = 200, path.read_bytes()
        self.respond(status, data, with_body=with_body)

    def respond(self, status: int, data: bytes, *, with_body: bool) -> None:
        """Send what was found, or the part of it that is asked for."""
        whole, first = len(data), 0
        part = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if part and status == 200:
            first = int(part[1])
            status, data = 206, data[first : int(part[2] or whole) + 1]
        self.send_response(status)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data)))
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{whole}")
        self.end_headers()
        if with_body:
            self.wfile.write(data)


@contextmanager
def serving(folder: Path, kind: type[Ranges] = Ranges) -> Iterator[str]:
    """Serve a folder; its address."""
    handler = type("Here", (kind,), {"folder": folder})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
