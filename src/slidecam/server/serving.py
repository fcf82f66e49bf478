"""From options to a listening server: bound, known to its user alone, quiet if nobody calls.

The file by which other programs find a running server is one that only its user can read.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import socket
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

import uvicorn

from slidecam.errors import UsageError
from slidecam.files import replacing
from slidecam.parsing import json_in
from slidecam.server.app import make_app
from slidecam.server.folders import Roots
from slidecam.server.guard import Limits
from slidecam.server.service import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

FORMAT, VERSION = "slidecam-server", 1
VARIABLE = "SLIDECAM_SERVER_FILE"
"""Environment variable that names the file, where the usual place will not do."""


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens, and what a client must send.

    Attributes
    ----------
    url
        ``http://127.0.0.1:PORT``.
    token
        For ``Authorization: Bearer …``.
    pid, slidecam, started
        Which process of which version, since when.
    """

    url: str
    token: str
    pid: int
    slidecam: str
    started: str


def endpoint_path(
    environment: Mapping[str, str] = os.environ, platform: str = sys.platform
) -> Path:
    """Return where the file lies: the user's own folder for what programs keep between two runs."""
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    return _state_folder(environment, platform) / "slidecam" / "server.json"


def _state_folder(environment: Mapping[str, str], platform: str) -> Path:
    if platform == "win32":
        return Path(environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(environment.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")


def write_endpoint(path: Path, endpoint: Endpoint) -> None:
    """Write the file in one step, readable by nobody else from its first byte on."""
    record = {"format": FORMAT, "version": VERSION, **asdict(endpoint)}
    with replacing(path) as fresh:
        # Windows knows no such bits: there the user's profile is closed to other users.
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=2)


def read_endpoint(path: Path) -> Endpoint | None:
    """Return what the file says, or None where there is none that this version understands."""
    try:
        record: Any = json_in(path)
        if (record["format"], record["version"]) != (FORMAT, VERSION):
            return None
        return Endpoint(**{name: record[name] for name in Endpoint.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_endpoint(path: Path, endpoint: Endpoint) -> None:
    """Remove the file if it is still this server's."""
    if read_endpoint(path) == endpoint:
        path.unlink(missing_ok=True)


HOST = "127.0.0.1"
HIGHEST_PORT = 65535
PATIENCE = 3
"""Seconds that open connections get to end when the server stops.

Those who listen to events would stay forever.
"""

BACKLOG = 2048


@dataclass(frozen=True)
class ServeSpec:
    """What `serve` may be set to.

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
                f"Port {self.port} is out of range.",
                f"Pass 0 to {HIGHEST_PORT}; 0 finds a free one.",
            )


def serve(spec: ServeSpec, ready: Callable[[Endpoint, Path], None]) -> None:
    """Listen until the process is stopped.

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
        spec.model,
        roots,
        spec.out.absolute(),
        spec.limits,
        device=spec.device,
        trust=spec.trust,
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

    It sleeps until somebody calls, or stops it.

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
        option: int = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
        listener.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise UsageError(
                f"Port {port} cannot be used: {error.strerror}.", "Pass another --port."
            ) from error
        yield listener


def _announce(path: Path, endpoint: Endpoint, ready: Callable[[Endpoint, Path], None]) -> None:
    write_endpoint(path, endpoint)
    ready(endpoint, path)


def _refuse_second(path: Path) -> None:
    running = read_endpoint(path)
    if running is not None and _answers(running):
        problem = (
            f"A server runs already: {running.url}, process {running.pid} (according to {path})."
        )
        raise UsageError(
            problem,
            "Use that one, stop it, or set SLIDECAM_SERVER_FILE to another file.",
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
