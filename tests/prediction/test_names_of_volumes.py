"""Masks and rows of tables find their volume by the name that it has in the call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.errors import UsageError
from slidecam.events import Planned, SlideFailed, Warned
from slidecam.prediction.pipeline import predict
from slidecam.runs.slices import read_slices_csv
from slidecam.runs.spec import PredictSpec
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.events import Event


def run(inputs: Any, bundle: Path, out: Path, **spec: Any) -> list[Event]:
    kept: dict[str, Any] = {"workers": 1, "batch": 4, "device": "cpu", "heatmap": "none"}
    return [*predict(inputs, bundle, out, PredictSpec(**(kept | spec)))]


@pytest.fixture
def patients(tmp_path: Path, write_volume: Any, head: NDArray[np.int16]) -> list[Path]:
    """Return the series of two patients, in folders of one name."""
    return [write_volume.dicom(tmp_path / name / "SE1", head) for name in ("PAT1", "PAT2")]


def draw(
    folder: Path, write_volume: Any, head: NDArray[np.int16], masks: Mapping[str, int]
) -> Path:
    """Write masks of one slice each into a folder, by name."""
    folder.mkdir()
    for name, plane in masks.items():
        drawn = np.zeros(head.shape, np.uint8)
        drawn[10:30, 10:30, plane] = 1
        write_volume.nifti(folder / f"{name}.nii.gz", drawn)
    return folder


def classified(out: Path) -> dict[str, list[int]]:
    """Return the slices that were classified, by the volume's folder."""
    found: dict[str, list[int]] = {}
    for table in out.glob("*/slices.csv"):
        found[table.parent.name] = np.flatnonzero(read_slices_csv(table).done).tolist()
    return found


def test_masks_are_found_under_the_names_that_tell_volumes_apart(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    slice_bundle: Path,
    patients: list[Path],
) -> None:
    masks = draw(tmp_path / "masks", write_volume, head, {"PAT1-SE1": 4, "PAT2-SE1": 7, "SE1": 2})
    run(patients, slice_bundle, tmp_path / "out", mask=masks)
    assert classified(tmp_path / "out") == {"PAT1-SE1": [4], "PAT2-SE1": [7]}


def test_a_mask_that_may_be_of_several_volumes_is_refused_and_one_of_one_is_not(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    slice_bundle: Path,
    patients: list[Path],
) -> None:
    masks = draw(tmp_path / "masks", write_volume, head, {"PAT1-SE1": 4, "SE1": 2})
    with pytest.raises(UsageError, match="SE1 may be of PAT1-SE1 or of PAT2-SE1"):
        run(patients, slice_bundle, tmp_path / "out", mask=masks)
    assert not (tmp_path / "out").exists()
    run(patients[1], slice_bundle, tmp_path / "one", mask=masks)
    assert classified(tmp_path / "one") == {"SE1": [2]}


def test_what_a_volume_was_called_by_before_its_folder_kept_its_dot_is_a_name_of_it(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], slice_bundle: Path
) -> None:
    dotted = write_volume.dicom(tmp_path / "sub.01", head)
    masks = draw(tmp_path / "masks", write_volume, head, {"sub": 5})
    run(dotted, slice_bundle, tmp_path / "out", mask=masks)
    assert classified(tmp_path / "out") == {"sub.01": [5]}
    other = write_volume.dicom(tmp_path / "sub.02", head)
    with pytest.raises(UsageError, match=r"sub may be of sub\.01 or of sub\.02"):
        run([dotted, other], slice_bundle, tmp_path / "both", mask=masks)


@pytest.mark.parametrize("name", ["PAT2-SE1", "SE1"])
def test_a_row_of_the_spacing_table_is_of_the_volume_that_it_names(
    tmp_path: Path, slice_bundle: Path, patients: list[Path], name: str
) -> None:
    rows = {"spacings": {name: 11.7}, "dry_run": True}
    if name == "SE1":
        with pytest.raises(UsageError, match="SE1 may be of PAT1-SE1 or of PAT2-SE1"):
            run(patients, slice_bundle, tmp_path / "out", **rows)
        patients = patients[:1]
    events = run(patients, slice_bundle, tmp_path / "out", **rows)
    assert not [each for each in events if isinstance(each, SlideFailed)]
    planned = [each for each in events if isinstance(each, Planned)]
    assert planned[-1].spacing == pytest.approx(11.7)
    assert len({each.spacing for each in planned}) == len(planned)
    assert not [each for each in events if isinstance(each, Warned) and "not used" in each.message]


def test_a_name_that_several_have_is_of_the_one_that_is_called_so(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    dotted = write_volume.dicom(tmp_path / "sub.01", head)
    plain = write_volume.nifti(tmp_path / "sub.nii.gz", head)
    found = find_slides([dotted, plain])
    assert [slide.name for slide in found.slides] == ["sub.01", "sub"]
    assert [slide.aliases for slide in found.slides] == [(), ("sub.nii.gz",)]
    assert found.shared == {}
