from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.errors import UnreadableSourceError
from slidecam.sources import open_source
from slidecam.sources._dicom_slide import _jpeg_is_ycbcr, instances_of

if TYPE_CHECKING:
    from pathlib import Path

JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
FRAME = b"\xff\xc0\x00\x11\x08\x00\x10\x00\x10\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01"
SCAN = b"\xff\xda\x00\x0c"


def adobe(transform: int) -> bytes:
    return b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0" + bytes([transform])


@pytest.mark.parametrize(
    ("marks", "ycbcr"),
    [(JFIF, True), (adobe(1), True), (adobe(0), False), (JFIF + adobe(0), False), (b"", False)],
)
def test_a_frame_is_ycbcr_only_by_its_own_marks(marks: bytes, ycbcr: bool) -> None:  # noqa: FBT001 - a table
    assert _jpeg_is_ycbcr(b"\xff\xd8" + marks + FRAME + SCAN) is ycbcr


def test_a_truncated_frame_is_no_evidence() -> None:
    assert not _jpeg_is_ycbcr(b"\xff\xd8\xff\xe0\x00")


@pytest.mark.shared_data
def test_wrong_colours_are_mended_and_noted(shared_data: Path) -> None:
    slides = shared_data / "slides"
    with (
        open_source(slides / "dicom_7levels_wrong_colour") as mended,
        open_source(slides / "CMU-1-Small-Region.svs") as right,
    ):
        assert "YCbCr" in mended.facts.readings[0]
        assert right.facts.readings == ()
        difference = mended.thumbnail(200).astype(int) - right.thumbnail(200)
        assert (
            np.abs(difference.mean(axis=(0, 1))).max() < 2.0
        )  # unmended, green is off by more than 40


@pytest.mark.shared_data
def test_right_colours_are_left_alone(shared_data: Path) -> None:
    files = [
        *(shared_data / "slides" / "dicom_volume_label_macro").iterdir(),
        *(shared_data / "slides").glob("*.dcm"),
    ]
    assert len(files) == 6
    assert {each.mended for each in instances_of(files)} == {""}


@pytest.mark.shared_data
def test_a_folder_and_any_file_of_its_series_are_the_same_slide(shared_data: Path) -> None:
    folder = shared_data / "slides" / "dicom_7levels_wrong_colour"
    with open_source(folder) as whole, open_source(max(folder.iterdir())) as last:
        assert whole.facts.levels == last.facts.levels
        assert len(whole.facts.levels) == 7
        assert whole.facts.fingerprint == last.facts.fingerprint


@pytest.mark.shared_data
def test_a_folder_of_two_series_asks_which(shared_data: Path, tmp_path: Path) -> None:
    for name in ("camelyon_jpeg_coarse.dcm", "camelyon_jpeg2000_coarse.dcm"):
        shutil.copy(shared_data / "slides" / name, tmp_path)
    with pytest.raises(UnreadableSourceError, match=r"2 DICOM series.*Pass one file"):
        open_source(tmp_path)


@pytest.mark.shared_data
def test_a_slice_of_mri_is_read_as_a_volume_and_a_slide_as_a_slide(shared_data: Path) -> None:
    mri = next(
        file for file in (shared_data / "mri_dicom_series").rglob("*") if file.suffix == ".dcm"
    )
    with (
        open_source(mri) as volume,
        open_source(shared_data / "slides" / "dicom_7levels_wrong_colour") as slide,
    ):
        assert volume.facts.reader == "dicom"
        assert slide.facts.reader == "openslide"
