"""From options to a listening server: bound, known to its user alone, quiet if nobody calls."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import uvicorn

from slidecam.errors import UsageError
from slidecam.server.app import make_app
from slidecam.server.endpoint import (
    Endpoint,
    endpoint_path,
    read_endpoint,
    remove_endpoint,
    write_endpoint,
)
from slidecam.server.limits import Limits
from slidecam.server.roots import Roots
from slidecam.server.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

HOST = "127.0.0.1"
HIGHEST_PORT = 65535
PATIENCE = 3
"""Seconds that open connections get to end when the server stops.

Those who listen to events would stay forever.
"""

BACKLOG = 2048


@dataclass(frozen=True)
class ServeSpec:
    """What `serve` may be told.

    Attributes
    ----------
    model
        The bundle that stays warm.
    roots
        Folders whose slides may be opened.
    out
        Where jobs go that name no folder.
    port
        0 for one that is free.
    device, trust
        As in `PredictSpec`.
    file
        Where to say how the server is reached; None for `endpoint_path`.
    limits
        Of requests.
    """

    model: Path
    roots: tuple[Path, ...] = (Path(),)
    out: Path = Path("slidecam-results")
    port: int = 0
    device: str = "auto"
    trust: bool = False
    file: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= HIGHEST_PORT:
            raise UsageError(
                f"port {self.port} is out of range.",
                f"Pass 0 to {HIGHEST_PORT}; 0 finds a free one.",
            )


def serve(spec: ServeSpec, ready: Callable[[Endpoint, Path], None]) -> None:
    """Listen until the process is told to stop.

    ``ready`` is called once, with what a client must know.

    Raises
    ------
    SlidecamError
        If the model cannot be used, a root is no folder, the port is taken or another server runs
        already.
    """
    path = spec.file or endpoint_path()
    _refuse_second(path)
    roots = Roots.of(spec.roots)
    service = Service.of(
        spec.model, roots, spec.out.absolute(), spec.limits, device=spec.device, trust=spec.trust
    )
    with _listening(spec.port) as listener:
        server, endpoint = make_server(service, listener.getsockname()[1])
        server.on_start = lambda: _announce(path, endpoint, ready)
        try:
            server.run(sockets=[listener])
        finally:
            remove_endpoint(path, endpoint)


def make_server(service: Service, port: int) -> tuple[QuietServer, Endpoint]:
    """Return a server for a socket that is bound to ``port``, and what its clients must know."""
    token = secrets.token_urlsafe(32)
    hosts = frozenset(f"{name}:{port}" for name in (HOST, "localhost"))
    config = uvicorn.Config(
        make_app(service, token, hosts),
        http="h11",
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=PATIENCE,
    )
    started = datetime.now(UTC).isoformat(timespec="seconds")
    endpoint = Endpoint(f"http://{HOST}:{port}", token, os.getpid(), version("slidecam"), started)
    return QuietServer(config), endpoint


class QuietServer(uvicorn.Server):
    """Uvicorn without its ten ticks a second.

    It sleeps until somebody calls, or it is told to stop.

    Attributes
    ----------
    on_start
        Called once it listens.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.on_start: Callable[[], None] = lambda: None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    async def main_loop(self) -> None:
        """Sleep until `stop`."""
        self._loop = asyncio.get_running_loop()
        self.server_state.default_headers = self.config.encoded_headers
        self.on_start()
        if not self.should_exit:
            await self._stop.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop on a signal."""
        super().handle_exit(sig, frame)
        self.stop()

    def stop(self) -> None:
        """End the server, from whatever thread."""
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)


@contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        # A port that was just left may be taken again; on Windows that option would let another
        # program listen on it too, and its opposite keeps it out.
        exclusive: int | None = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
        listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR if exclusive is None else exclusive, 1
        )
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"port {port} cannot be used: {error.strerror}.", "Pass another --port."
            ) from error
        yield listener


def _announce(path: Path, endpoint: Endpoint, ready: Callable[[Endpoint, Path], None]) -> None:
    write_endpoint(path, endpoint)
    ready(endpoint, path)


def _refuse_second(path: Path) -> None:
    running = read_endpoint(path)
    if running is not None and _answers(running):
        problem = f"a server runs already: {running.url}, process {running.pid} (told by {path})."
        raise UsageError(
            problem, "Use that one, stop it, or set SLIDECAM_SERVER_FILE to another file."
        )


def _answers(endpoint: Endpoint) -> bool:
    """Whether there is a slidecam at this address; a file may have outlived its server."""
    try:
        with build_opener(ProxyHandler({})).open(
            f"{endpoint.url}/openapi.json", timeout=2
        ) as answer:
            return b'"slidecam"' in answer.read(1_000_000)
    except (URLError, OSError, ValueError):
        return False
