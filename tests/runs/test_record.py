"""What run.json says is typed, whatever version wrote it; what is damaged is refused in words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidecam.classes import ClassSet
from slidecam.errors import StoreError
from slidecam.geometry import Box, Size, Spacing
from slidecam.runs.record import VERSION, RunRecord, write_failure
from slidecam.runs.record_parts import (
    RecordedBundle,
    RecordedCall,
    RecordedForeground,
    RecordedHeatmap,
    RecordedInput,
    RecordedOutcome,
    RecordedSpacing,
    RecordedVolume,
)
from slidecam.sources import shown_corner
from slidecam.sources.qupath import QuPathView
from slidecam.store import RunStore, StorePlan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

AFFINE = ((0.0, -0.7, 0.0, 11.3), (0.9, 0.0, 0.0, -4.1), (0.0, 0.0, 2.3, 7.9), (0.0, 0.0, 0.0, 1.0))

FAILED = RecordedOutcome("2026-02-03", "no room.", "Make some.", ("line 1", "line 2"))


def made() -> RunRecord:
    """Return a finished record in which no two numbers are alike."""
    heatmap = {"file": "heatmap.ome.zarr", "method": "cam", "scale": "fixed", "raw_at_0": [-1.25]}
    return RunRecord(
        input=RecordedInput("s.mrxs", "f" * 8, "openslide", "mirax", Size(713, 509), BOUNDS),
        bundle=RecordedBundle("b", "bundles/b", "d" * 8, ClassSet(("A", "B"), "sigmoid")),
        status="done",
        started="2026-01-01",
        resumed=3,
        made_in="/somewhere",
        spacing=RecordedSpacing(Spacing(0.243, 0.251), "file"),
        foreground=RecordedForeground("found", 0.37),
        qupath=QuPathView((0, 0), Size(713, 509)),
        plan={"slide": "f" * 8, "reader": "openslide"},
        ngff="0.5",
        painting={"methods": ["cam"]},
        outcome=RecordedOutcome(
            "2026-01-02",
            tiles={"total": 5, "done": 4, "failed": 1},
            heatmaps=(RecordedHeatmap.from_json({**heatmap, "raw_at_1": [3.75]}),),
            seconds={"total": 1.5},
            call=RecordedCall.from_json({"called": "A", "pooling": "mean"}),
        ),
    )


BOUNDS = Box(37, 53, 601, 411)


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    volume = RecordedVolume("coronal", 7, (9, 7, 5), (2.3, 0.9, 0.7), AFFINE)
    slide, failed = made(), made().failed(FAILED)
    for record in (slide, failed, replace(slide, input=RecordedInput("v.nii", volume=volume))):
        record.write(tmp_path)
        assert RunRecord.read(tmp_path) == record
    assert slide.heatmaps[0].raw_limits(0) == (-1.25, 3.75)


def test_a_record_of_the_first_version_is_brought_to_this_one(tmp_path: Path) -> None:
    old = made().to_json()
    del old["version"], old["made_in"]
    (tmp_path / "run.json").write_text(json.dumps(old))
    assert RunRecord.read(tmp_path) == replace(made(), made_in=None)
    for key in ("class_names", "class_colors", "activation"):
        del old["bundle"][key]
    del old["input"]["bounds_px"], old["input"]["fingerprint"], old["qupath"]
    (tmp_path / "run.json").write_text(json.dumps(old))
    read = RunRecord.read(tmp_path)
    assert (read.bundle.classes, read.input.size, read.qupath) == (None, None, None)
    assert read.input.fingerprint == "f" * 8
    asked = replace(read, input=replace(read.input, size=Size(713, 509), bounds=BOUNDS))
    assert asked.shown_part == BOUNDS


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("input"),
        lambda data: data.update(input=[]),
        lambda data: data["input"].update(size_px="large"),
        lambda data: data["bundle"].update(activation="tanh"),
        lambda data: data["qupath"].update(corner_px=[1]),
        lambda data: data.update(version="2"),
        lambda data: data["bundle"].update(class_names="AB"),
        lambda data: data["bundle"].update(thresholds=[0.3, float("nan")]),
        lambda data: data.update(status="weird"),
        lambda data: data["spacing"].update(um_px=[0.243, -1]),
        lambda data: data["spacing"].update(um_px=[0.243, 0]),
        lambda data: data["seconds"].update(total=float("inf")),
        lambda data: data["plan"].update({"µm/px": [float("nan"), 0.251]}),
        lambda data: data["input"].update(path=None),
        lambda data: data.update(tiles="many"),
        lambda data: data.update(resumed=True),
        lambda data: data["foreground"].update(share=1.37),
        lambda data: data["seconds"].update(total=10**400),
        lambda data: data["heatmaps"][0].pop("file"),
        lambda data: data.update(tiles={"done": 7.5}),
    ],
)
def test_a_damaged_record_is_refused_with_a_remedy(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None]
) -> None:
    data = made().to_json()
    damage(data)
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(StoreError, match=r"run\.json is (missing or )?damaged .*--overwrite"):
        RunRecord.read(tmp_path)
    assert RunRecord.find(tmp_path) is None


def test_all_faults_of_a_record_are_named_at_once(tmp_path: Path) -> None:
    data = made().to_json()
    data["status"], data["bundle"]["activation"], data["spacing"]["um_px"] = "odd", "tanh", [-1, 0]
    del data["input"]["path"]
    data["plan"]["overlap"] = float("nan")
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(StoreError) as caught:
        RunRecord.read(tmp_path)
    for words in (
        'status is "odd", not one of "running", "failed", "done", "partly", "skipped"',
        'bundle.activation is "tanh", not one of "softmax", "sigmoid", "none"',
        "spacing.um_px is [-1, 0], not a list of 2, each a number above 0",
        "input.path is missing",
        "plan.overlap is not a finite number",
    ):
        assert words in caught.value.problem


def test_a_fault_in_a_list_is_named_by_its_row_and_that_of_a_table_by_what_its_values_are(
    tmp_path: Path,
) -> None:
    data = made().to_json()
    data["heatmaps"].append({"file": 3})
    data["tiles"] = {"done": -1}
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(StoreError) as caught:
        RunRecord.read(tmp_path)
    for words in (
        "heatmaps.1.file is 3, not a string",
        'tiles is {"done": -1}, not a table, each value a whole number from 0',
    ):
        assert words in caught.value.problem


def test_an_unknown_key_is_left_alone_but_for_numbers_that_json_has_not(tmp_path: Path) -> None:
    data = made().to_json()
    # No table of this name is within "status".
    data["status_before"] = {"held": [3]}
    (tmp_path / "run.json").write_text(json.dumps(data))
    assert RunRecord.read(tmp_path) == made()
    data["status"], data["status_before"] = "odd", {"held": [float("nan")]}
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(StoreError, match=r"status_before\.held is not a finite number"):
        RunRecord.read(tmp_path)


def test_a_whole_float_is_a_whole_number_as_in_every_table(tmp_path: Path) -> None:
    data = made().to_json()
    data["resumed"], data["tiles"] = float(data["resumed"]), {"done": 7.0}
    (tmp_path / "run.json").write_text(json.dumps(data))
    read = RunRecord.read(tmp_path)
    assert read.outcome is not None
    assert repr((read.resumed, read.outcome.tiles)) == repr((made().resumed, {"done": 7}))


def test_a_record_of_a_later_slidecam_is_no_damage_and_is_not_overwritten(tmp_path: Path) -> None:
    data = made().to_json() | {"version": VERSION + 97}
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(StoreError, match=f"version {VERSION + 97}.*reads {VERSION}") as caught:
        RunRecord.read(tmp_path)
    assert "Install a newer slidecam" in (caught.value.remedy or "")
    assert "--overwrite" not in str(caught.value)
    write_failure(tmp_path, FAILED)
    assert json.loads((tmp_path / "run.json").read_text()) == data


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("class_names", ["A", "C"]),
        ("activation", "softmax"),
        ("thresholds", [0.5, 0.31]),
        ("temperature", 1.7),
    ],
)
def test_classes_are_those_that_the_store_keeps(tmp_path: Path, key: str, value: object) -> None:
    classes = made().bundle.classes
    assert classes is not None
    plan = StorePlan(np.zeros((0, 4), np.int64), [], 10, 2, None, class_record=classes.record)
    RunStore.create(tmp_path, plan)
    made().write(tmp_path)
    assert RunRecord.read(tmp_path) == made()
    data = made().to_json()
    data["bundle"][key] = value
    (tmp_path / "run.json").write_text(json.dumps(data))
    with pytest.raises(StoreError, match=r"run\.json was changed.*run\.zarr"):
        RunRecord.read(tmp_path)


def test_a_failure_is_noted_whatever_lies_there(tmp_path: Path) -> None:
    write_failure(tmp_path, FAILED)
    data = json.loads((tmp_path / "run.json").read_text())
    assert (data["status"], data["reason"], data["traceback"]) == (
        "failed",
        "no room.",
        ["line 1", "line 2"],
    )
    made().write(tmp_path)
    write_failure(tmp_path, FAILED)
    assert RunRecord.read(tmp_path) == replace(made(), status="failed", outcome=FAILED)


@given(
    corner=st.tuples(st.integers(0, 9973), st.integers(0, 9973)),
    scanned=st.tuples(st.integers(1, 7919), st.integers(1, 7919)),
    beyond=st.tuples(st.integers(0, 997), st.integers(0, 997)),
    whole=st.booleans(),
)
def test_qupath_counts_from_the_corner_of_what_it_shows(
    corner: tuple[int, int], scanned: tuple[int, int], beyond: tuple[int, int], *, whole: bool
) -> None:
    bounds = Box(*corner, *scanned)
    size = Size(bounds.right + beyond[0], bounds.bottom + beyond[1])
    shown = size if whole else Size(bounds.width, bounds.height)
    view = QuPathView(shown_corner("s", size, bounds, shown), shown)
    part = view.part(size, bounds) or Box(0, 0, size.width, size.height)
    assert Size(part.width, part.height) == shown
    assert (part.x, part.y) == ((0, 0) if shown == size else corner)
    unsaid = QuPathView(shown_corner("s", size, bounds)).part(size, bounds)
    assert unsaid == bounds
