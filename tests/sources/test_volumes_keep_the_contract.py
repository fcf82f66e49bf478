"""Every reader of volumes keeps the contract of sources.

Its plane 0 is the lowest slice, hung as radiologists do.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.sources import open_source
from slidecam.sources.contract import SourceCase, SourceContract

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.sources import Source

FORMATS = {
    "plain.nii": ("nifti", "nifti"),
    "packed.nii.gz": ("nifti", "nifti"),
    "second.nii": ("nifti2", "nifti"),
    "brain.mgz": ("mgh", "nifti"),
    "brain.mgh": ("mgh", "nifti"),
    "brain.nrrd": ("nrrd", "nrrd"),
    "series": ("dicom", "dicom"),
    "many.dcm": ("enhanced", "dicom"),
}


def shown_by_hand(head: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Return the lowest slice as the default window shows it, by the definition of each step."""
    values = head.astype(np.float64)
    low, high = np.percentile(values, (2, 98))
    body = values[values > low + 0.1 * (high - low)]
    black, white = np.percentile(body, (1, 99.5))
    shown = np.clip((values - black) / (white - black), 0, 1) * 255
    lowest = shown[
        ::-1, ::-1, 0
    ].T  # x falls along a row: the patient's left is on the right of the picture
    return np.repeat(np.rint(lowest)[:, :, None], 3, axis=2).astype(np.uint8)


class TestVolume(SourceContract):
    @pytest.fixture(params=sorted(FORMATS))
    def case(
        self, request: Any, tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
    ) -> SourceCase:
        method, reader = FORMATS[request.param]
        write = getattr(write_volume, method)
        for name in (
            "own",
            "copied",
            "others",
        ):  # a DICOM file brings those of its series that lie beside it
            (tmp_path / name).mkdir()
        path = write(tmp_path / "own" / request.param, head)
        copy = tmp_path / "copied" / f"copy-{request.param}"
        (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
        other = write(tmp_path / "others" / request.param, head[::-1])
        return SourceCase(
            path=str(path),
            reader=None,
            read_by=reader,
            picture=shown_by_hand(head),
            tolerance=1,
            level_tolerance=1.0,
            spacing=800.0,
            copy=str(copy),
            other=str(other),
        )

    @pytest.fixture
    def source(self, case: SourceCase) -> Iterator[Source]:
        with open_source(case.path, case.reader) as source:
            yield source
