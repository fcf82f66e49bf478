"""Files and folders at URLs: listed, fetched, put, removed; in memory and in an S3."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slidecam.errors import StoreError, UsageError
from slidecam.objects import (
    Location,
    as_given,
    fetched,
    is_url,
    put_folder,
    said,
    working_folder,
)
from slidecam.objects import kept as kept_module

if TYPE_CHECKING:
    from collections.abc import Callable

    from object_server import Faults


@pytest.fixture(params=["memory", "s3"])
def folder(request: pytest.FixtureRequest) -> Location:
    """Return an empty folder of either kind."""
    if request.param == "memory":
        return Location("memory://bucket/folder")
    bucket: Location = request.getfixturevalue("bucket")
    return bucket / "folder"


def test_what_is_put_is_listed_read_and_removed(folder: Location, tmp_path: Path) -> None:
    assert folder.files() == {}
    assert folder.children() == {}
    (tmp_path / "a.bin").write_bytes(b"\0\1\2" * 1_000)
    (folder / "deep/er/a.bin").put(tmp_path / "a.bin")
    (folder / "b").write(b"two")
    assert sorted(folder.files()) == ["b", "deep/er/a.bin"]
    assert folder.children() == {"b": False, "deep": True}
    (folder / "deep/er/a.bin").get(tmp_path / "back/a.bin")
    assert (tmp_path / "back/a.bin").read_bytes() == b"\0\1\2" * 1_000
    assert [each.name for each in (tmp_path / "back").iterdir()] == ["a.bin"]
    (folder / "b").remove()
    (folder / "b").remove()
    assert (folder / "b").identity() is None
    assert folder.identity() is None
    with pytest.raises(FileNotFoundError):
        (folder / "b").read()


def test_of_those_who_put_a_new_file_at_once_one_succeeds(folder: Location) -> None:
    (folder / "one").write(b"mine", new=True)
    (folder / "one").write(b"mine", new=True)  # the answer to the first was lost
    with pytest.raises(FileExistsError):
        (folder / "one").write(b"yours", new=True)
    assert (folder / "one").read() == b"mine"


def test_what_changes_at_a_url_is_fetched_again_and_else_not(
    folder: Location, nothing_kept: Path
) -> None:
    (folder / "in/a").write(b"first")
    first = fetched((folder / "in").url)
    assert (first / "a").read_bytes() == b"first"
    assert fetched((folder / "in").url) == first
    (folder / "in/a").write(b"second")
    second = fetched((folder / "in").url)
    assert second != first
    assert (second / "a").read_bytes() == b"second"
    assert fetched((folder / "in/a").url).name == "a"
    assert len(list(nothing_kept.iterdir())) == 3
    assert said(f"({second}/a: bad)") == f"({folder}/in/a: bad)"


def test_what_is_kept_has_a_limit(
    folder: Location, nothing_kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(kept_module.CACHE_LIMIT, "0.000025")
    others = [
        nothing_kept / "backends",
        nothing_kept / "brca" / "slides",
        nothing_kept / ("f" * 32),
    ]
    for other in others:
        other.mkdir(parents=True)
        (other / "theirs").write_bytes(b"x" * 26_000)
    for name in ("a", "b", "c", "d"):
        (folder / name).write(name.encode() * 10_000)
        assert fetched((folder / name).url).read_bytes() == name.encode() * 10_000
    left = sorted(path.name for path in nothing_kept.rglob("?"))
    assert "d" in left
    assert "a" not in left
    assert all((other / "theirs").is_file() for other in others)


def test_a_folder_is_put_with_what_speaks_for_it_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    put = Location.put

    def noted(place: Location, local: Path) -> None:
        put(place, local)
        order.append(place.name)

    monkeypatch.setattr(Location, "put", noted)
    for name in ("card.json", "a", "z", "weights"):
        (tmp_path / name).write_text(name)
    put_folder(tmp_path, Location("memory://b/x"), ("weights", "card.json"))
    assert sorted(order[:2]) == ["a", "z"]
    assert order[2:] == ["weights", "card.json"]


def test_503s_and_answers_that_never_come_cost_nothing(
    bucket: Location, faults: Faults, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(b"a" * 70_000)
    faults.busy_every, faults.late_every, faults.late_seconds = 3, 11, 3.0
    for number in range(8):
        (bucket / f"{number}").put(tmp_path / "a")
        (bucket / f"{number}").get(tmp_path / f"{number}")
        assert (tmp_path / f"{number}").read_bytes() == b"a" * 70_000
    assert len(bucket.files()) == 8
    assert faults.busy >= 5
    assert faults.late >= 1


def no_bucket(bucket: Location) -> None:
    Location(f"{bucket}-none/x").write(b"")


def no_package(_bucket: Location) -> None:
    Location("gs://reader:hunter2@bucket/x").files()


def no_protocol(_bucket: Location) -> None:
    Location("nonsense://bucket/x?sig=hunter2").files()


def nobody_there(bucket: Location) -> None:
    fetched(f"{bucket}/none")


@pytest.mark.parametrize("call", [no_bucket, no_package, no_protocol, nobody_there])
def test_what_cannot_be_is_said_by_name_and_without_secrets(
    bucket: Location, call: Callable[[Location], None]
) -> None:
    with pytest.raises((UsageError, StoreError)) as refused:
        call(bucket)
    assert "bucket" in refused.value.problem
    assert refused.value.remedy
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in "".join(refused.value.traceback())


def test_urls_are_known_also_from_paths(tmp_path: Path) -> None:
    assert as_given(tmp_path) == str(tmp_path)
    assert is_url("s3://b/c")
    assert not is_url("file:///b/c")
    assert as_given(type(tmp_path)("s3://b/c d")) == "s3://b/c d"
    assert str(Location("https://h/a?sig=1") / "b") == "https://h/a/b"
    assert (Location("https://h/a?sig=1") / "b").url == "https://h/a/b?sig=1"


OWNER = ".slidecam-owner"


def mark_as_left(folder: Path) -> None:
    """Let a folder be of a process that has ended: of our number, and begun long ago."""
    owner = folder / OWNER
    owner.write_text(owner.read_text().rpartition(" ")[0] + " 1")


def test_what_a_killed_fetch_left_is_removed_by_the_next(
    nothing_kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second", "owner", "origin"):
        (Location("memory://bucket") / name).write(name.encode())
    # A killed process removes nothing.
    with monkeypatch.context() as killed:
        killed.setattr("shutil.rmtree", lambda *_all, **_more: None)
        killed.setattr(kept_module, "_fetch", refuse_to_end)
        for _each in range(2):
            with pytest.raises(KeyboardInterrupt):
                fetched("memory://bucket/first")
    left, going = sorted(nothing_kept.glob(".*.partial"))
    mark_as_left(left)
    assert fetched("memory://bucket/second").read_bytes() == b"second"
    assert [*nothing_kept.glob(".*.partial")] == [going]
    # No file of ours beside what was fetched has its name.
    assert fetched("memory://bucket/owner").read_bytes() == b"owner"
    assert fetched("memory://bucket/origin").read_bytes() == b"origin"
    assert fetched("memory://bucket/origin").read_bytes() == b"origin"


def refuse_to_end(*_all: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("has_proc", [True, False])
def test_a_process_is_known_by_when_it_began(
    monkeypatch: pytest.MonkeyPatch, *, has_proc: bool
) -> None:
    if not has_proc:  # as on macOS and Windows
        monkeypatch.setattr(kept_module, "Path", lambda place: Path("nowhere" + place))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        known = kept_module.begun(other.pid)
        assert kept_module.is_alive(known)
        assert not kept_module.is_alive(known.rpartition(" ")[0] + " 1"), "another of its number"
        other.kill()
        other.wait()
        assert (kept_module.begun(other.pid), kept_module.is_alive(known)) == ("", False)


def test_the_working_folders_of_ended_processes_are_removed(nothing_kept: Path) -> None:
    left = working_folder("s3://b/c")
    mark_as_left(left.parent)
    foreign = nothing_kept / "work-foreign"
    foreign.mkdir()
    (foreign / OWNER).write_text("somebody else's")
    ours = working_folder("s3://b/c")
    theirs = working_folder("s3://b/c")
    assert not left.exists()
    assert foreign.exists()
    (foreign / OWNER).unlink()
    foreign.rmdir()
    assert ours.exists()
    assert theirs.exists()
    assert said(f"{ours}/S1") == "s3://b/c/S1"
    assert len(list(nothing_kept.iterdir())) == 2
