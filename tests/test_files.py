"""Files and folders of this room appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slidecam.errors import UsageError
from slidecam.files import (
    changed_since,
    check_folder,
    flush,
    marks_of,
    refuse_inputs,
    refuse_unnameable,
    refuse_url,
    replacing,
    replacing_folder,
    strict_json,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable


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


def test_what_gets_its_name_is_on_the_disk_before_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[tuple[int, bool]] = []
    really = os.fsync

    def noted(opened: int) -> None:
        flushed.append((os.fstat(opened).st_ino, (tmp_path / "a").exists()))
        really(opened)

    monkeypatch.setattr(os, "fsync", noted)
    with replacing(tmp_path / "a") as fresh:
        fresh.write_text("new")
    file, folder = (tmp_path / "a").stat().st_ino, tmp_path.stat().st_ino
    assert flushed == [(file, False), (folder, True)]
    (tmp_path / "b" / "deep").mkdir(parents=True)
    (tmp_path / "b" / "deep" / "c").write_text("new")
    flush(tmp_path / "b")
    assert (tmp_path / "b" / "deep" / "c").stat().st_ino in dict(flushed)


def test_a_file_system_that_knows_no_flushing_is_no_error_and_a_broken_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(number: int) -> Callable[[int], None]:
        def fail(_opened: int) -> None:
            raise OSError(number, os.strerror(number))

        return fail

    monkeypatch.setattr(os, "fsync", answer(errno.EINVAL))
    write_text(tmp_path / "a", "first")
    monkeypatch.setattr(os, "fsync", answer(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write_text(tmp_path / "a", "second")
    assert (tmp_path / "a").read_text() == "first"
    assert [each.name for each in tmp_path.iterdir()] == ["a"]


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


def test_json_is_strict_and_holds_even_names_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"share": float("nan")})
    assert not (tmp_path / "a.json").exists()
    record = strict_json({"share": float("nan"), "slide": "caf\udce9.tif", "of": ("é",)})
    write_json(tmp_path / "a.json", record)
    assert (tmp_path / "a.json").read_bytes().endswith(b'"\xc3\xa9"\n  ]\n}\n')
    read = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert read == {"share": None, "slide": "caf\udce9.tif", "of": ["é"]}


def test_a_text_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "one\ntwo\n")
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.txt", "\udce9")
    assert (tmp_path / "a.txt").read_bytes() == b"one\ntwo\n"
    assert [each.name for each in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://bucket/results", "s3://bucket/results"),
        ("gs://bucket/a b/c", "gs://bucket/a b/c"),
        ("https://reader:hunter2@host.org/r?sig=abc123", "https://host.org/r"),
        ("abfs://container@account/x", "abfs://account/x"),
    ],
)
def test_a_url_is_no_folder_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as refused:
        check_folder(Path(given))
    assert url in str(refused.value)
    assert "hunter2" not in str(refused.value)
    assert "abc123" not in str(refused.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("given", ["out", "c:/out", "a:b/c", "ward 3:/x", "./s3"])
def test_a_folder_with_a_colon_is_no_url(given: str) -> None:
    refuse_url(Path(given))


@pytest.fixture
def read(tmp_path: Path) -> Path:
    folder = tmp_path / "Read" / "cells.zarr"
    (folder / "0").mkdir(parents=True)
    (folder / "0" / "zarr.json").write_text("{}")
    return folder


@pytest.mark.parametrize("below", ["", "new", "0", "0/new/deeper", "../cells.zarr/0"])
def test_an_output_is_refused_in_what_is_read(read: Path, below: str) -> None:
    with pytest.raises(UsageError, match="would lie in what is read"):
        refuse_inputs([read / below], [read])


def test_what_is_read_is_known_behind_a_link(read: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(read, target_is_directory=True)
    with pytest.raises(UsageError, match="would lie in what is read"):
        refuse_inputs([tmp_path / "link" / "new"], [read])
    with pytest.raises(UsageError, match="would lie in what is read"):
        refuse_inputs([read / "new"], [tmp_path / "link"])


def test_what_is_read_is_known_by_another_name_of_it(
    read: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a file system does that takes large letters for small ones."""
    plain = Path.stat

    def of_any_letters(path: Path, *, follow_symlinks: bool = True) -> object:
        there = Path(str(path).replace("READ", "Read"))
        return plain(there, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", of_any_letters)
    with pytest.raises(UsageError, match="would lie in what is read"):
        refuse_inputs([read.parents[1] / "READ" / "cells.zarr"], [read])


def test_what_is_replaced_as_a_whole_may_hold_nothing_that_is_read(read: Path) -> None:
    refuse_inputs([read.parent], [read])
    with pytest.raises(UsageError, match=r"cells\.zarr is read"):
        refuse_inputs([read.parent], [read], whole=True)


def test_outputs_beside_what_is_read_are_as_good_as_any(read: Path) -> None:
    beside = [read.parent / "out", read.parent / "cells.zarr2", read.with_suffix("")]
    refuse_inputs(beside, [read, "s3://bucket/slide.tif", read / "gone"], whole=True)


def test_a_file_that_is_written_anew_is_noticed_and_one_that_comes_or_goes_is_not(
    tmp_path: Path,
) -> None:
    for name in ("a.dcm", "b.dcm", "c.dcm", ".DS_Store"):
        (tmp_path / name).write_bytes(name.encode())
        os.utime(tmp_path / name, (1_000_003, 1_000_003))
    marks = marks_of([tmp_path, "s3://bucket/slide", tmp_path / "nowhere"])
    assert changed_since(marks) == []
    (tmp_path / "new.dcm").write_bytes(b"another series")
    (tmp_path / "c.dcm").unlink()
    (tmp_path / ".DS_Store").write_bytes(b"its owner has looked in")
    assert changed_since(marks) == []
    (tmp_path / "b.dcm").write_bytes(b"B.DCM")
    assert changed_since(marks) == [tmp_path / "b.dcm"]


@pytest.mark.parametrize("name", ["a" * 5000, "with\0null"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="No file can be called"):
        refuse_unnameable(tmp_path / name)
    refuse_unnameable(tmp_path / "not there")
