"""From options to a listening server: bound, known to its user alone, quiet if nobody calls.

The file by which other programs find a running server is one that only its user can read.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable
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
from slidecam.parsing import json_in
from slidecam.server.app import make_app
from slidecam.server.folders import Roots
from slidecam.server.guard import Limits
from slidecam.server.page_links import PageDoor, PageLinks
from slidecam.server.private_files import write_private
from slidecam.server.punctual import PunctualProtocol
from slidecam.server.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
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
    write_private(path, json.dumps(record, indent=2))


def read_endpoint(path: Path) -> Endpoint | None:
    """Return what the file says, or None where there is none that this version understands."""
    try:
        record: Any = json_in(path)
        if (record["format"], record["version"]) != (FORMAT, VERSION):
            return None
        return Endpoint(**{name: record[name] for name in Endpoint.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_endpoint(path: Path, endpoint: Endpoint) -> bool:
    """Remove the file if it is still this server's, and return whether it was."""
    if read_endpoint(path) != endpoint:
        return False
    path.unlink(missing_ok=True)
    return True


HOST = "127.0.0.1"
HIGHEST_PORT = 65535
HOST_NAME = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?")
"""What a browser may send as ``Host``; it leaves the usual port out."""

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
    host_names
        Further names, with their ports, that it may be called by: those of a tunnel or a proxy.
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
    host_names: tuple[str, ...] = ()
    file: Path | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= HIGHEST_PORT:
            raise UsageError(
                f"Port {self.port} is out of range.",
                f"Pass 0 to {HIGHEST_PORT}; 0 finds a free one.",
            )
        for name in self.host_names:
            if not HOST_NAME.fullmatch(name):
                raise UsageError(
                    f"--host-name {name!r} is no name of a host.",
                    "Write it as browsers send it: localhost:9000, or viewer.example.org.",
                )


Ready = Callable[[Endpoint, Path, PageDoor], None]
"""Called once with what programs must know, the file that tells them, and where the page is."""


def serve(spec: ServeSpec, ready: Ready) -> None:
    """Listen until the process is stopped.

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
        server, endpoint = make_server(service, listener.getsockname()[1], spec.host_names)
        page = path.with_suffix(".html")
        server.on_start = lambda: _announce(path, endpoint, server.links.keep(page), ready)
        try:
            server.run(sockets=[listener])
        finally:
            if remove_endpoint(path, endpoint):
                page.unlink(missing_ok=True)


def make_server(
    service: Service, port: int, host_names: tuple[str, ...] = ()
) -> tuple[QuietServer, Endpoint]:
    """Return a server for a socket that is bound to ``port``, and what its clients must know.

    ``host_names`` are further names that it may be called by, as a tunnel has them.
    """
    token, url = secrets.token_urlsafe(32), f"http://{HOST}:{port}"
    hosts = frozenset({f"{HOST}:{port}", f"localhost:{port}", *host_names})
    links = PageLinks(url)
    config = uvicorn.Config(
        make_app(service, token, hosts, links),
        http=PunctualProtocol,
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
    endpoint = Endpoint(url, token, os.getpid(), version("slidecam"), started)
    return QuietServer(config, links), endpoint


class QuietServer(uvicorn.Server):
    """Uvicorn without its ten ticks a second.

    It sleeps until somebody calls, or stops it.

    Attributes
    ----------
    links
        To its page.
    on_start
        Called once it listens.
    """

    def __init__(self, config: uvicorn.Config, links: PageLinks) -> None:
        super().__init__(config)
        self.links = links
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


def _announce(path: Path, endpoint: Endpoint, door: PageDoor, ready: Ready) -> None:
    write_endpoint(path, endpoint)
    ready(endpoint, path, door)


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
