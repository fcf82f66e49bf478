"""An S3 on this machine that answers as badly as a test wants."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)


@dataclass
class Faults:
    """What goes wrong: every so many requests a 503, every so many no answer for some seconds."""

    busy_every: int = 0
    late_every: int = 0
    late_seconds: float = 0.0
    requests: int = 0
    busy: int = 0
    late: int = 0
    guard: Lock = field(default_factory=Lock)

    def next(self) -> str:
        """Return what becomes of a request: served, busy or late."""
        with self.guard:
            self.requests += 1
            if self.busy_every and self.requests % self.busy_every == 0:
                self.busy += 1
                return "busy"
            if self.late_every and self.requests % self.late_every == 0:
                self.late += 1
                return "late"
        return "served"


class _Still(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_: Any, **__: Any) -> None:
        """Be still."""


@contextmanager
def object_server() -> Iterator[tuple[str, Faults]]:
    """Give the address of an S3 and what goes wrong in it, which a test may change."""
    faults = Faults()
    served = DomainDispatcherApplication(create_backend_app)

    def application(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        fate = faults.next()
        if fate == "late":
            time.sleep(faults.late_seconds)
        if fate == "busy":
            length = int(environment.get("CONTENT_LENGTH") or 0)
            environment["wsgi.input"].read(length)
            start("503 Slow Down", [("Content-Length", str(len(SLOW_DOWN)))])
            return [SLOW_DOWN]
        found: Iterable[bytes] = served(environment, start)
        return found

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Still)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}", faults
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
