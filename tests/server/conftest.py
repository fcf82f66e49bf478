"""A server in a thread, on a folder with a small slide and a picture or two."""

from __future__ import annotations

import io
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from slidecam.server.folders import Roots
from slidecam.server.guard import Limits
from slidecam.server.service import Service
from slidecam.server.serving import _listening, make_server
from stopping import PATIENCE

from .visits import browser, visit  # noqa: F401  (fixtures of all tests of the page)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slidecam.server.page_links import PageLinks
    from slidecam.server.serving import QuietServer

NAMES = ("localhost:9000", "viewer.example.org")
"""What a tunnel and a proxy call it."""

LIMITS = Limits(
    body_bytes=300_000,
    json_bytes=100_000,
    body_seconds=60.0,
    pixels=200_000,
    waiting_images=4,
    waiting_jobs=3,
    open_slides=2,
)


@dataclass(frozen=True)
class Running:
    """A server that listens, and how to call it."""

    url: str
    token: str
    root: Path
    home: Path
    service: Service
    links: PageLinks

    def client(self, **headers: str) -> httpx.Client:
        """Return a client that knows the token."""
        told = {"Authorization": f"Bearer {self.token}", **headers}
        return httpx.Client(base_url=self.url, headers=told, timeout=PATIENCE, trust_env=False)


@contextmanager
def running_server(
    bundle: Path, root: Path, home: Path, limits: Limits = LIMITS
) -> Iterator[Running]:
    """Run a server in a thread for a while."""
    service = Service.of(bundle, Roots.of((root,)), home, limits, device="cpu", trust=False)
    with _listening(0) as listener:
        server, endpoint = make_server(service, listener.getsockname()[1], NAMES)
        started = threading.Event()
        server.on_start = started.set
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert started.wait(PATIENCE)
        try:
            yield Running(endpoint.url, endpoint.token, root, home, service, server.links)
        finally:
            stop(server, thread)


def stop(server: QuietServer, thread: threading.Thread) -> None:
    server.stop()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.fixture(scope="session")
def slides(tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path]) -> Path:
    """Return a folder with a slide of some tissue, a larger one, and a file that is none."""
    folder = tmp_path_factory.mktemp("slides")
    write_slide(folder / "small.tif")
    write_slide(folder / "large.tif", width=2600, height=2300, seed=1)
    (folder / "notes.txt").write_text("no slide")
    (folder / "inner").mkdir()
    return folder


@pytest.fixture(scope="session")
def server(
    tiny_bundle: Path, slides: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """Return a server that all tests share."""
    with running_server(tiny_bundle, slides, tmp_path_factory.mktemp("home")) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[httpx.Client]:
    """Return a client of it."""
    with server.client() as found:
        yield found


def picture(width: int = 64, height: int = 64, kind: str = "PNG", seed: int = 0) -> bytes:
    """Return a picture's file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def finished(client: httpx.Client, job: dict[str, Any]) -> list[dict[str, Any]]:
    """Follow a job to its end and return its events."""
    with client.stream("GET", job["events"]) as answer:
        assert answer.status_code == 200
        return [json.loads(line) for line in answer.iter_lines() if line]
