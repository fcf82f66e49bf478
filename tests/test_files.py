"""Files and folders of this room appear whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slidecam.errors import UsageError
from slidecam.files import check_folder, replacing, replacing_folder

if TYPE_CHECKING:
    from pathlib import Path


class _CutOffError(Exception):
    """What a power cut would be."""


def _write_half(target: Path) -> None:
    with replacing(target) as fresh:
        fresh.write_text("hal", encoding="utf-8")
        raise _CutOffError


def _make_half(target: Path) -> None:
    with replacing_folder(target) as fresh:
        fresh.mkdir()
        raise _CutOffError


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    for path in (tmp_path / "file", tmp_path / "file" / "deeper" / "still"):
        with pytest.raises(UsageError, match="file is a file, and the output goes into a folder"):
            check_folder(path)
    check_folder(tmp_path / "new" / "deeper")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    with pytest.raises(UsageError, match="may not be written in"):
        check_folder(tmp_path / "new")


def test_a_file_takes_its_place_in_the_end(tmp_path: Path) -> None:
    target = tmp_path / "new folder" / "a.txt"
    with replacing(target) as fresh:
        fresh.write_text("whole", encoding="utf-8")
        assert not target.exists()
    assert target.read_text(encoding="utf-8") == "whole"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"]


def test_after_an_error_the_old_file_is_untouched(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old", encoding="utf-8")
    with pytest.raises(_CutOffError):
        _write_half(target)
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for name in ("first", "second"):
        with replacing_folder(target) as fresh:
            fresh.mkdir()
            (fresh / name).touch()
    assert [path.name for path in target.iterdir()] == ["second"]
    assert list(tmp_path.iterdir()) == [target]


def test_after_an_error_the_old_folder_is_untouched(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    (target / "old").mkdir(parents=True)
    with pytest.raises(_CutOffError):
        _make_half(target)
    assert [path.name for path in target.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_was_never_written_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    (target / "old").mkdir(parents=True)
    with pytest.raises(FileNotFoundError), replacing_folder(target):
        pass
    assert [path.name for path in target.iterdir()] == ["old"]
