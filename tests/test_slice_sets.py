"""Slices of volumes become pictures to learn from: the right ones, as predict would see them."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from slidecam.cli.app import app
from slidecam.errors import DataSetError, UsageError
from slidecam.learning.data.pictures import read_picture_set
from slidecam.models import open_bundle
from slidecam.models.card_parts import VolumeCard
from slidecam.prediction.model import load_model
from slidecam.prediction.preparation import prepare
from slidecam.runs.spec import PredictSpec
from slidecam.steps import result_of
from slidecam.streaming import StreamSpec, stream_tiles
from slidecam.tile_sets import SliceSetSpec, write_slice_set
from slidecam.tile_sets.slices import read_slice_table

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.tile_sets import SliceSet


def table(folder: Path, *lines: str) -> Path:
    path = folder / "volumes.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def made(listed: Path, **others: Any) -> SliceSet:
    spec = SliceSetSpec(**{"input_px": 32, "min_tissue": 0, "workers": 1, **others})
    return result_of(write_slice_set(listed, listed.parent / "set", spec))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "pictures.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def brain(tmp_path: Path, write_volume: Any, head: NDArray[np.int16]) -> Path:
    """Return a head of twelve slices, and beside it a mask on slices 6 and 7."""
    mask = np.zeros(head.shape, np.uint8)
    mask[5:9, 20:24, 6:8] = 1
    write_volume.nifti(tmp_path / "mask.nii.gz", mask)
    path = tmp_path / "brain.nii.gz"
    write_volume.nifti(path, head)
    return path


def test_a_slice_is_learnt_as_predict_sees_it(
    tmp_path: Path, brain: Path, slice_bundle: Path
) -> None:
    listed = table(tmp_path, "path,label", f"{brain.name},plain")
    found = made(listed, **vars_of(SliceSetSpec.of_card(open_bundle(slice_bundle).card, 0.1)))
    model = load_model(slice_bundle, PredictSpec(device="cpu"))
    work = prepare(str(brain), tmp_path / "run", model, PredictSpec(dry_run=True))
    seen = {}
    with work.source as source:
        for batch in stream_tiles(source, work.grid, StreamSpec(4)):
            for row, pixels in zip(batch.rows.tolist(), batch.pixels, strict=True):
                seen[int(work.grid.planes[row])] = pixels
    rows = rows_of(found.folder)
    assert {int(row["slice"]) for row in rows} == seen.keys()
    for row in rows:
        with Image.open(found.folder / row["path"]) as picture:
            np.testing.assert_array_equal(np.asarray(picture), seen[int(row["slice"])])


def vars_of(spec: SliceSetSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name in ("seen", "input_px", "min_tissue")}


def test_a_mask_says_which_slices_are_of_the_class_and_a_range_which_are_taken(
    tmp_path: Path, brain: Path
) -> None:
    found = made(
        table(
            tmp_path,
            "path,label,first,last,step,mask,outside,group,split",
            f"{brain.name},lesion,5,8,,mask.nii.gz,plain,P1,train",
            f"{brain.name},plain,1,4,2,,,P1,train",
            f"{brain.name},lesion,9,10,,mask.nii.gz,,P1,train",
        )
    )
    labels = {int(row["slice"]): row["label"] for row in rows_of(found.folder)}
    assert labels == {1: "plain", 3: "plain", 5: "plain", 6: "lesion", 7: "lesion", 8: "plain"}
    assert found.slices == {"plain": 4, "lesion": 2}
    pictures = read_picture_set(found.folder)
    assert pictures.groups == ("P1",) * 6
    assert set(pictures.parts) == {"train"}
    assert pictures.names[0] == "train/plain/P1_brain_axial_0005.png"
    record = json.loads((found.folder / "slice_set.json").read_text())
    assert record["spec"]["seen"]["axis"] == "axial"


def test_what_is_assumed_of_a_volume_and_its_mask_is_told_of_its_line(
    tmp_path: Path, brain: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    mask = np.zeros((*head.shape, 2), np.uint8)
    mask[5:9, 20:24, 6:8] = 1
    write_volume.nifti(tmp_path / "four.nii.gz", mask)
    write_volume.nifti(brain, np.stack([head, head, head], 3))
    listed = table(tmp_path, "path,label,mask", f"{brain.name},lesion,four.nii.gz")
    (said,) = made(listed).volumes.values()
    assert said.startswith("2 slices, 0 failed. It holds 3 volumes")
    assert said.endswith("The mask four.nii.gz: It holds 2 volumes: volume 0 is read.")


def test_positions_are_those_of_the_volume(tmp_path: Path, brain: Path) -> None:
    rows = rows_of(made(table(tmp_path, "path,label", f"{brain.name},plain")).folder)
    by_slice = {int(row["slice"]): float(row["position_mm"]) for row in rows}
    assert by_slice[3] == pytest.approx((3 - 5.5) * 2.0)


def test_the_axis_is_that_of_the_card(tmp_path: Path, brain: Path) -> None:
    listed = table(tmp_path, "path,label,step", f"{brain.name},plain,7")
    rows = rows_of(made(listed, seen=VolumeCard("coronal")).folder)
    assert {row["axis"] for row in rows} == {"coronal"}
    assert {int(row["slice"]) for row in rows} <= set(range(0, 48, 7))


def test_a_volume_that_cannot_be_read_is_told_and_the_others_are_written(
    tmp_path: Path, brain: Path
) -> None:
    (tmp_path / "broken.nii").write_bytes(b"no volume")
    listed = table(tmp_path, "path,label", f"{brain.name},plain", "broken.nii,plain")
    found = made(listed)
    assert not found.is_whole
    assert found.slices["plain"] > 5
    said = found.volumes["line 3, broken.nii, plain"]
    assert said != "0 slices, 0 failed"
    with pytest.raises(DataSetError, match="No slice was taken"):
        made(table(tmp_path, "path,label", "broken.nii,plain"), overwrite=True)
    assert rows_of(found.folder)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["path,label,slice", "brain.nii.gz,a,3"], "no column 'slice'"),
        (["path,label", "brain.nii.gz,"], "line 2: the path or the label is empty"),
        (["path,label,first", "brain.nii.gz,a,one"], "first is 'one'"),
        (["path,label,split", "brain.nii.gz,a,spare"], "no split 'spare'"),
        (["path,label,outside", "brain.nii.gz,a,b"], "Name the mask as well"),
    ],
)
def test_a_table_that_cannot_be_followed_is_refused(
    tmp_path: Path, lines: list[str], says: str
) -> None:
    with pytest.raises(DataSetError, match=says):
        read_slice_table(table(tmp_path, *lines))


def test_a_slice_that_is_listed_twice_is_refused(tmp_path: Path, brain: Path) -> None:
    lines = ["path,label,first,last", f"{brain.name},a,2,5", f"{brain.name},a,5,7"]
    with pytest.raises(DataSetError, match="Slice 5 of brain is in the table twice"):
        made(table(tmp_path, *lines))


def test_a_set_is_replaced_only_where_that_is_said(tmp_path: Path, brain: Path) -> None:
    listed = table(tmp_path, "path,label", f"{brain.name},plain")
    made(listed)
    with pytest.raises(UsageError, match="There is a slice set here"):
        made(listed)
    made(listed, overwrite=True)


def test_the_command_makes_slices_for_a_bundle(
    tmp_path: Path, brain: Path, slice_bundle: Path
) -> None:
    listed = table(tmp_path, "path,label", f"{brain.name},plain")
    call = ["slices", str(listed), "--out", str(tmp_path / "made"), "--json"]
    refused = CliRunner().invoke(app, call)
    assert refused.exit_code == 2
    done = CliRunner().invoke(app, [*call, "--like", str(slice_bundle)])
    assert done.exit_code == 0, done.output
    with Image.open(next((tmp_path / "made").rglob("*.png"))) as picture:
        assert picture.size == (32, 32)


@pytest.mark.parametrize("number", ["²", "1" * 5000, "-1"])
def test_what_is_no_number_of_a_slice_is_refused_by_its_line(tmp_path: Path, number: str) -> None:
    listed = table(tmp_path, "path,label,first,last", f"head.nii,healthy,{number},3")
    with pytest.raises(DataSetError, match=r"line 2: first is '") as caught:
        read_slice_table(listed)
    assert len(str(caught.value)) < 300 + len(str(listed))
