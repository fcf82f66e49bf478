"""Real schedulers with worker processes on loopback, as few of them as will do."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import psutil
import pytest
from distributed import Client, LocalCluster

from slidecam import PredictSpec, predict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LEAN = PredictSpec(batch=8, workers=2, overlap=0.5, outputs=("tiles.csv",))


@pytest.fixture
def client(two_workers: Client) -> Client:
    """Return the client of two worker processes, both of which are there."""
    two_workers.wait_for_workers(2, timeout=240)
    return two_workers


@pytest.fixture(scope="module")
def two_workers() -> Iterator[Client]:
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
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as running,
    ):
        yield running


@pytest.fixture(scope="session")
def several_parts(
    tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path]
) -> Path:
    """Return a slide whose run is of four parts, in batches of 8 tiles at half overlap.

    All tests read this one: who damages a slide copies it.
    """
    return write_slide(tmp_path_factory.mktemp("slide") / "wide.tif", width=1300, height=1000)


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path, several_parts: Path) -> Path:
    """Return the results of that slide by one process, computed once: read them alone."""
    out = tmp_path_factory.mktemp("here")
    list(predict(several_parts, tiny_bundle, out, LEAN))
    return out
