"""What is unpacked into the temporary folder is gone with whoever unpacked it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest

from slidecam.spool import Spool, remove_spools

if TYPE_CHECKING:
    from pathlib import Path

ABANDON = """
import os
from slidecam.spool import Spool
spool = Spool()
with spool.writing() as write:
    write(b"a patient")
os._exit(9)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_is_removed_by_the_next(temporary: Path) -> None:
    subprocess.run([sys.executable, "-c", ABANDON], check=False)  # noqa: S603  (our own interpreter)
    (left,) = temporary.glob("*.raw")
    assert left.read_bytes() == b"a patient"
    (temporary / "slidecam-notes.raw").write_bytes(b"somebody else's")
    spool = Spool()
    assert not left.exists()
    spool.remove()
    assert [path.name for path in temporary.iterdir()] == ["slidecam-notes.raw"]


def test_what_is_in_use_is_left_alone(temporary: Path) -> None:
    one = Spool()
    with one.writing() as write:
        assert write(b"voxels") == 6
    other = Spool()
    assert one.path.read_bytes() == b"voxels"
    other.remove()
    one.remove()
    assert list(temporary.iterdir()) == []


def test_a_process_that_ends_at_once_takes_its_own_along(temporary: Path) -> None:
    spool = Spool()
    process = int(spool.path.name.split("-")[1])
    remove_spools(process + 1)
    assert spool.path.exists()
    remove_spools(process)
    assert list(temporary.iterdir()) == []
