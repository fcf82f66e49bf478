"""The frames of nuclear medicine lie where their vectors say, in whatever order they are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import NuclearMedicineImageStorage

from slidecam.sources import open_source
from slidecam.viewing import VolumeView

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from slidecam.sources import SourceFacts

SLICES, STEP, FIRST = 7, 3.7, (-41.3, -29.9, -11.2)


def stored(slice_: int, slot: int) -> NDArray[np.uint16]:
    """Return a slice, numbered from 1: no two voxels of a file are alike."""
    rows, columns = np.mgrid[:5, :6]
    return np.asarray(1000 * slot + 100 * slice_ + 6 * rows + columns, np.uint16)


@pytest.fixture
def template(tmp_path: Path, write_volume: Any, head: NDArray[np.int16]) -> Dataset:
    folder = write_volume.dicom(tmp_path / "template", head[:, :, :1])
    return dcmread(next(folder.iterdir()))


def written(
    path: Path, made: Dataset, frames: Sequence[tuple[int, int]], **tags: Any
) -> tuple[Path, SourceFacts]:
    """Write frames of (slice, time slot); return the file and what is said of it."""
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = NuclearMedicineImageStorage
    made.Rows, made.Columns, made.NumberOfFrames = 5, 6, len(frames)
    made.PixelRepresentation, made.BitsStored, made.HighBit = 0, 16, 15
    made.PixelData = np.stack([stored(*frame) for frame in frames]).tobytes()
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.ImagePositionPatient = [*FIRST]
    made.SpacingBetweenSlices = STEP
    made.FrameIncrementPointer = [0x00540070, 0x00540080]
    made.SliceVector = [slice_ for slice_, _slot in frames]
    made.TimeSlotVector = [slot for _slice, slot in frames]
    for name, value in tags.items():
        setattr(made, name, value)
    made.save_as(path)
    with open_source(path) as source:
        return path, source.facts


def volume(path: Path, name: str | None = None) -> NDArray[np.float32]:
    with open_source(path, view=VolumeView(volume=name)) as source:
        return np.asarray(source.array())  # type: ignore[attr-defined]


def test_frames_lie_at_their_slices_places_and_the_first_ones_is_the_files(
    tmp_path: Path, template: Dataset
) -> None:
    order = [(each, 2 - number % 2) for number, each in enumerate([4, 2, 7, 1, 6, 3, 5] * 2)]
    path, facts = written(tmp_path / "nm.dcm", template, order)
    assert facts.stack is not None
    np.testing.assert_allclose(
        facts.stack.positions, [FIRST[2] + STEP * each for each in range(SLICES)], atol=1e-4
    )
    for slot in (1, 2):
        expected = np.stack([stored(each, slot) for each in range(1, SLICES + 1)])
        np.testing.assert_array_equal(volume(path, f"time slot {slot}"), expected)
    assert any("frames are placed by SliceVector" in each for each in facts.readings)


def test_frames_in_their_slices_order_are_worth_no_words(tmp_path: Path, template: Dataset) -> None:
    _path, facts = written(tmp_path / "nm.dcm", template, [(each, 1) for each in range(1, 8)])
    assert facts.readings == ()


def test_a_vector_that_does_not_fit_the_frames_is_not_believed_and_that_is_said(
    tmp_path: Path, template: Dataset
) -> None:
    frames = [(each, 1) for each in (3, 1, 2)]
    _path, facts = written(tmp_path / "nm.dcm", template, frames, SliceVector=[3, 1])
    assert any("SliceVector has 2 values for 3 frames" in each for each in facts.readings)


def test_that_repetitions_are_taken_in_stored_order_is_said(
    tmp_path: Path, template: Dataset
) -> None:
    frames = [(each, slot) for each in (2, 1, 3) for slot in (1, 2)]
    _path, facts = written(tmp_path / "nm.dcm", template, frames, TimeSlotVector=[1] * 6)
    assert any("the order in which their file stores them" in each for each in facts.readings)


def test_without_positions_head_and_feet_are_called_a_guess(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    for path in series.iterdir():
        made = dcmread(path)
        del made.ImagePositionPatient
        made.save_as(path)
    with open_source(series) as source:
        assert any("which end is the head's" in each for each in source.facts.readings)
