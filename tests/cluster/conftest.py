"""Real schedulers with worker processes on loopback, as few of them as will do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import psutil
import pytest
from distributed import Client, LocalCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Return the client of two worker processes; afterwards none of them is left."""
    before = {each.pid for each in psutil.Process().children(recursive=True)}
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster, set_as_default=False) as running,
    ):
        yield running
    left = {each.pid for each in psutil.Process().children(recursive=True)} - before
    names = [psutil.Process(pid).cmdline() for pid in left if psutil.pid_exists(pid)]
    # Python's own helper of spawned processes stays as long as we do, and readers for more slides.
    ours = ("resource_tracker", "_reader_process")
    assert [name for name in names if not any(word in " ".join(name) for word in ours)] == []


@pytest.fixture
def own_workers() -> Iterator[Client]:
    """Return the client of a worker that is threads of this process: nothing is spawned."""
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="") as cluster,
        Client(cluster, set_as_default=False) as running,
    ):
        yield running


@pytest.fixture
def several_parts(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    """Return a slide whose run is of four parts, in batches of 8 tiles at half overlap."""
    return write_slide(tmp_path / "wide.tif", width=1300, height=1000)
