"""Corrected tiles are never lost, never half-written, and never another run's."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.errors import RunMismatchError, StoreError, UsageError
from slidecam.teaching import Corrections, read_corrections

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.runs import Run


def test_what_was_said_is_there_when_the_run_is_opened_again(run: Run) -> None:
    corrections = Corrections.open(run)
    assert not corrections.path.exists()
    corrections.set(3, "A")
    corrections.set([4, 5], "a new class: é")
    corrections.set(4, "B")
    corrections.clear(3)
    again = Corrections.open(run)
    assert dict(again.labels) == {4: "B", 5: "a new class: é"}
    assert again.counts == {"B": 1, "a new class: é": 1}
    assert len(again) == 2


def test_undo_goes_back_one_change_at_a_time(run: Run) -> None:
    corrections = Corrections.open(run)
    corrections.set(1, "A")
    corrections.set([1, 2], "B")
    assert corrections.undo() == (1, 2)
    assert dict(Corrections.open(run).labels) == {1: "A"}
    assert corrections.undo() == (1,)
    assert corrections.undo() == ()
    assert dict(Corrections.open(run).labels) == {}


def test_two_windows_on_one_run_lose_nothing_to_each_other(run: Run) -> None:
    one, other = Corrections.open(run), Corrections.open(run)
    one.set(1, "A")
    other.set(2, "B")
    one.set(3, "C")
    assert dict(one.labels) == {1: "A", 2: "B", 3: "C"}
    assert dict(Corrections.open(run).labels) == dict(one.labels)


def test_changes_made_at_once_wait_for_each_other(run: Run) -> None:
    def correct(rows: range) -> None:
        corrections = Corrections.open(run)
        for row in rows:
            corrections.set(row, "A")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(correct, [range(20), range(20, 40)]))
    assert sorted(Corrections.open(run).labels) == list(range(40))


def test_corrections_of_other_tiles_or_another_slide_are_refused_and_kept(run: Run) -> None:
    Corrections.open(run).set(1, "A")
    content = (run.folder / "corrections.json").read_bytes()
    moved = replace(run.tiles, boxes=run.tiles.boxes + np.array([1, 0, 0, 0]))
    for other, words in (
        (replace(run, tiles=moved), "other tiles of this slide"),
        (replace(run, digest={"slide": "t"}), "another slide"),
    ):
        with pytest.raises(RunMismatchError, match=words):
            Corrections.open(other)
        with pytest.raises(RunMismatchError):
            Corrections(other).set(2, "B")
    assert (run.folder / "corrections.json").read_bytes() == content


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "other"}', None])
def test_a_damaged_file_is_told_and_not_written_over(run: Run, content: str | None) -> None:
    path = run.folder / "corrections.json"
    Corrections.open(run).set(1, "A")
    if content is None:
        record = json.loads(path.read_text(encoding="utf-8"))
        content = json.dumps({**record, "changes": [{"tiles": [[1]], "class": "A"}]})
    path.write_text(content, encoding="utf-8")
    for attempt in (
        lambda: Corrections.open(run),
        lambda: Corrections(run).set(2, "B"),
        lambda: read_corrections(path),
    ):
        with pytest.raises(StoreError, match="Move it away"):
            attempt()
    assert path.read_text(encoding="utf-8") == content


def test_a_write_that_fails_leaves_the_old_file(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    corrections = Corrections.open(run)
    corrections.set(1, "A")

    def full(_self: Path, *_text: object, **_how: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.write_text", full)
        with pytest.raises(StoreError, match="cannot be written"):
            corrections.set(2, "B")
    assert dict(corrections.labels) == {1: "A"}
    assert dict(Corrections.open(run).labels) == {1: "A"}
    assert [path.name for path in run.folder.iterdir() if path.suffix == ".partial"] == []


def test_a_tile_that_is_not_there_and_a_class_without_a_name_are_refused(run: Run) -> None:
    corrections = Corrections.open(run)
    none: list[int] = []
    for rows in (-1, len(run), none):
        with pytest.raises(UsageError, match="There is no tile"):
            corrections.set(rows, "A")
    with pytest.raises(UsageError, match="without a name"):
        corrections.set(1, " ")
    assert not corrections.path.exists()


def test_a_file_says_its_tiles_by_their_boxes(run: Run) -> None:
    corrections = Corrections.open(run)
    corrections.set([5, 2], "A")
    corrections.set(2, "B")
    corrections.set(0, "C")
    corrections.clear(0)
    saved = read_corrections(corrections.path)
    assert saved.slide == "s"
    found = dict(zip(map(tuple, saved.boxes.tolist()), saved.names, strict=True))
    assert found == {tuple(run.tiles.boxes[5]): "A", tuple(run.tiles.boxes[2]): "B"}


@pytest.mark.parametrize(
    "tiles", [[[{}, 0, 0, 1, 1]], [["one", 0, 0, 1, 1]], [[-1, 0, 0, 1, 1]], [[1, 2]], {}, 7]
)
def test_a_change_of_tiles_that_are_none_is_refused(run: Run, tiles: object) -> None:
    Corrections(run).set(2, "B")
    path = run.folder / "corrections.json"
    record = json.loads(path.read_text())
    record["changes"][0]["tiles"] = tiles
    path.write_text(json.dumps(record))
    with pytest.raises(StoreError, match="a change is not whole"):
        Corrections.open(run)
