"""Heat held against a mask, by the measures' definitions on heat that is known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
import zarr

from slidecam.classes import ClassSet
from slidecam.cli.output import volume_facts
from slidecam.errors import MaskError, StoreError, UsageError
from slidecam.evaluation.volumes import evaluate_volume, write_evaluation
from slidecam.exchange.volumes import VolumeRasterSpec, write_nifti, write_volume_ome_zarr
from slidecam.foreground.volumes import MOVED
from slidecam.runs.record import RunRecord
from slidecam.runs.record_parts import (
    RecordedBundle,
    RecordedCall,
    RecordedForeground,
    RecordedInput,
    RecordedOutcome,
)
from slidecam.runs.slices import SliceTable, write_slices_csv
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid
from slidecam.store import RunStore, StorePlan
from slidecam.thresholds import parse_threshold

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (8, 6, 4)  # x right, y forwards, z up


@pytest.fixture
def heat() -> NDArray[np.float32]:
    """Return heat of two classes, (classes, S, P, L): a small bright block and a flat one.

    The top slice is skipped.
    """
    heat = np.full((2, 4, 6, 8), 0.1, np.float32)
    heat[0, 1, 2:4, 2:4] = 1.0
    heat[:, 3] = np.nan
    return heat


@pytest.fixture
def finished(tmp_path: Path, heat: NDArray[np.float32], write_volume: Any) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    stack = PlaneStack(VolumeGrid(SHAPE, write_volume.affine(SHAPE)), "axial")
    spec = VolumeRasterSpec(
        "a", ("lesion", "plain"), ((1, 2, 3), (4, 5, 6)), stack, attributes={"method": "cam"}
    )
    write_volume_ome_zarr(folder / "heatmap.ome.zarr", (heat[:, plane] for plane in range(4)), spec)
    write_nifti(
        folder / "mask.nii.gz", iter([np.ones(SHAPE, np.uint8)]), stack.grid, "uint8", "all"
    )
    chances = np.array([[0.2, 0.8], [0.9, 0.1], [0.3, 0.7], [np.nan, np.nan]], np.float32)
    status = ("done", "done", "done", "skipped")
    table = SliceTable(
        "axial", stack.positions, stack.file_indices, status, chances, spec.class_names
    )
    write_slices_csv(table, folder / "slices.csv")
    outcome = RecordedOutcome("2026-01-01", call=RecordedCall("plain", {"called": "plain"}))
    bundle = RecordedBundle("b", classes=ClassSet(spec.class_names))
    RunRecord(
        RecordedInput("a.nii"), bundle, foreground=RecordedForeground("", 1.0), outcome=outcome
    ).write(folder)
    return folder


def drawn(spl: tuple[slice | int, ...]) -> NDArray[np.uint8]:
    """Return a mask in the file's order from a place in (S, P, L)."""
    mask = np.zeros((4, 6, 8), np.uint8)
    mask[spl] = 1
    return np.ascontiguousarray(mask.transpose(2, 1, 0)[::-1, ::-1])


def test_energy_pointing_and_dice_are_their_definitions(
    finished: Path, tmp_path: Path, write_volume: Any
) -> None:
    mask = write_volume.nifti(tmp_path / "m.nii.gz", drawn((1, slice(2, 4), slice(2, 6))))
    found = evaluate_volume(finished, mask, threshold=parse_threshold("fraction:0.5"))
    lesion, plain = found.figures
    total = 4 * 1.0 + (3 * 48 - 4) * 0.1
    assert (lesion.class_name, lesion.method) == ("lesion", "cam")
    assert lesion.energy == pytest.approx((4 + 4 * 0.1) / total, rel=1e-5)
    assert lesion.chance == lesion.chance_in_foreground == pytest.approx(8 / 144)
    assert lesion.pointing == 1
    assert lesion.peak_distance_mm == 0
    assert (lesion.slices_pointing, lesion.slices) == (1, 1)
    assert lesion.dice == pytest.approx(2 * 4 / (4 + 8))
    assert lesion.cut == pytest.approx(0.5)
    assert plain.energy == pytest.approx(8 / 144, rel=1e-5)  # flat heat gets chance
    assert plain.dice == 0
    assert found.mask_voxels == 8
    assert found.mask_ml == pytest.approx(8 * 0.8 * 0.8 * 2 / 1000)
    assert found.called_with_mask == {"lesion": 1, "plain": 0}
    assert found.notes == ()
    written = json.loads(write_evaluation(found, tmp_path / "out").read_text())
    assert written["figures"][0]["energy"] == pytest.approx(lesion.energy)


def test_a_peak_beside_the_mask_misses_by_millimetres(
    finished: Path, tmp_path: Path, write_volume: Any
) -> None:
    mask = write_volume.nifti(tmp_path / "m.nii.gz", drawn((1, slice(2, 4), 7)))
    (lesion,) = evaluate_volume(finished, mask, ["lesion"]).figures
    assert lesion.pointing == lesion.slices_pointing == 0
    assert lesion.peak_distance_mm == pytest.approx(
        (4 + 5) / 2 * 0.8
    )  # columns 2 and 3 to column 7


def test_a_mask_on_other_voxels_is_taken_at_the_nearest(
    finished: Path, tmp_path: Path, write_volume: Any
) -> None:
    fine = drawn((1, slice(2, 4), slice(2, 6))).repeat(2, 0).repeat(2, 1).repeat(2, 2)
    affine = write_volume.affine(SHAPE) @ np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = write_volume.affine(SHAPE)[:3, 3] - np.array(write_volume.voxel) / 4 + 1e-3
    mask = write_volume.nifti(tmp_path / "fine.nii.gz", fine, affine)
    found = evaluate_volume(finished, mask)
    assert found.mask_voxels == 8
    assert found.notes == (MOVED,)


def test_what_is_assumed_of_the_mask_is_told_and_written(finished: Path, tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), None)
    image.header.set_zooms((0.8, 0.8, 2.0))
    image.header["qform_code"] = image.header["sform_code"] = 0
    nibabel.save(image, tmp_path / "m.nii")
    written = write_evaluation(evaluate_volume(finished, tmp_path / "m.nii"), tmp_path / "out")
    (said, *_others) = json.loads(written.read_text())["notes"]
    assert said.startswith("The mask m.nii: Neither matrix of its header has a code")


def test_slices_that_were_not_classified_do_not_count_and_that_is_said(
    finished: Path, tmp_path: Path, write_volume: Any
) -> None:
    mask = write_volume.nifti(tmp_path / "m.nii.gz", drawn((slice(1, 4), slice(2, 4), slice(2, 4))))
    found = evaluate_volume(finished, mask)
    assert found.slices_with_mask == 3
    assert found.figures[0].slices == 2
    assert "1 slices with mask were not classified" in found.notes[0]


def test_what_cannot_be_measured_is_told(finished: Path, tmp_path: Path, write_volume: Any) -> None:
    mask = write_volume.nifti(tmp_path / "m.nii.gz", drawn((1, 2, 2)))
    with pytest.raises(UsageError, match=r"no class 'tumour'.*lesion, plain"):
        evaluate_volume(finished, mask, ["tumour"])
    with pytest.raises(StoreError, match="no finished run of a volume"):
        evaluate_volume(tmp_path, mask)
    with pytest.raises(MaskError, match="Nothing in this mask is above 0"):
        evaluate_volume(
            finished, write_volume.nifti(tmp_path / "empty.nii", np.zeros(SHAPE, np.uint8))
        )


def test_an_empty_heatmap_lies_nowhere_and_that_is_said(
    finished: Path, tmp_path: Path, write_volume: Any
) -> None:
    group = zarr.open_group(finished / "heatmap.ome.zarr", mode="r+")
    for name in group.array_keys():
        array = group[name]
        assert isinstance(array, zarr.Array)
        array[...] = 0
    mask = write_volume.nifti(tmp_path / "m.nii.gz", drawn((1, slice(2, 4), slice(2, 6))))
    found = evaluate_volume(finished, mask)
    written = json.loads(write_evaluation(found, tmp_path / "out").read_text())
    for figures in written["figures"]:
        for name in ("energy", "pointing", "peak_distance_mm", "slices_pointing", "dice", "cut"):
            assert figures[name] is None
        assert figures["chance"] == pytest.approx(8 / 144)
    assert [note.split(":")[0] for note in found.notes] == [
        "heatmap.ome.zarr has no heat of lesion",
        "heatmap.ome.zarr has no heat of plain",
    ]
    _facts, rows = volume_facts(found)
    assert {row["peak"] for row in rows} == {"empty heatmap"}


def test_the_foreground_is_what_the_run_keeps_without_its_mask_beside_it(
    finished: Path, tmp_path: Path, write_volume: Any
) -> None:
    (finished / "mask.nii.gz").unlink()
    small = np.zeros((4, 3, 4), np.bool_)
    small[1, 1, 1:3] = True
    boxes = np.zeros((0, 4), np.int64)
    planes = np.zeros(0, np.int64)
    RunStore.create(finished, StorePlan(boxes, [], 1, 2, None, planes=planes, tissue=small))
    mask = write_volume.nifti(tmp_path / "m.nii.gz", drawn((1, slice(2, 4), slice(2, 5))))
    # Rows 2 and 3, columns 2 to 5: of these eight voxels six are marked.
    lesion = evaluate_volume(finished, mask).figures[0]
    assert lesion.chance_in_foreground == pytest.approx(6 / 8)
