"""An S3 on loopback, a bucket for each test, and nothing kept from one test to the next."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest
from fsspec.config import conf

from object_server import Faults, object_server
from run_files import fill_memory
from slidecam.objects import Location

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NUMBERS = count(1)


@pytest.fixture(autouse=True)
def nothing_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return the folder that fetched files are kept in, empty; so is the store in memory."""
    kept = tmp_path / "kept"
    monkeypatch.setenv("SLIDECAM_CACHE", str(kept))
    fill_memory({})
    yield kept
    fill_memory({})


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Faults]]:
    """Return the address of an S3, and what goes wrong in it."""
    pytest.importorskip("s3fs")
    with object_server() as running:
        yield running


@pytest.fixture
def faults(server: tuple[str, Faults]) -> Iterator[Faults]:
    """Return what goes wrong in the S3: nothing, until a test says so."""
    yield server[1]
    server[1].busy_every = server[1].late_every = 0


@pytest.fixture
def bucket(server: tuple[str, Faults], monkeypatch: pytest.MonkeyPatch) -> Iterator[Location]:
    """Return an empty bucket; who waits for an answer waits a second."""
    from s3fs import S3FileSystem  # noqa: PLC0415  (an extra)

    for name, value in {
        "AWS_ACCESS_KEY_ID": "reader",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": server[0],
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(conf, "s3", {"config_kwargs": {"read_timeout": 1}})
    S3FileSystem.clear_instance_cache()
    name = f"bucket-{next(NUMBERS)}"
    S3FileSystem().mkdir(name)
    yield Location(f"s3://{name}")
    S3FileSystem.clear_instance_cache()
