"""One process at a time works in a folder; where there are no locks, work goes on and says so."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock, Timeout

from slidecam.errors import RunExistsError, UsageError
from slidecam.locks import LOCK_FILE, FolderLock, lock_folder
from slidecam.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path


def refusing(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every lock fail as a file system without locks does."""

    def acquire(_lock: FileLock, *_given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", acquire)


def test_a_folder_is_held_by_one_at_a_time_and_free_afterwards(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path / "new" / "run", "somebody is here.")
    with pytest.raises(RunExistsError, match="Somebody is here"):
        lock_folder(tmp_path / "new" / "run", "somebody is here.")
    lock.release()
    lock_folder(tmp_path / "new" / "run", "somebody is here.").release()


def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be made or written in"):
        lock_folder(tmp_path / "file" / "run", "somebody is here.")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP])
def test_a_file_system_without_locks_is_worked_on_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refusing(number, monkeypatch)
    lock = lock_folder(tmp_path / "run", "somebody is here.")
    assert str(tmp_path / "run") in lock.note
    assert "has no locks" in lock.note
    lock.release()
    spool = Spool()
    with spool.writing() as write:
        write(b"voxels")
    assert spool.path.read_bytes() == b"voxels"
    spool.remove()
    assert not spool.path.exists()


def test_another_failure_of_a_lock_is_no_missing_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing(errno.EIO, monkeypatch)
    with pytest.raises(UsageError, match=r"Input/output error|cannot be made"):
        lock_folder(tmp_path / "run", "somebody is here.")


def test_a_lock_is_waited_for_as_long_as_is_said(tmp_path: Path) -> None:
    with FolderLock.take(tmp_path / LOCK_FILE), pytest.raises(Timeout):
        FolderLock.take(tmp_path / LOCK_FILE, 0.05)
    assert FolderLock.take(tmp_path / LOCK_FILE, 0.05).note == ""
