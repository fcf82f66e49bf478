"""Which files are a DICOM series: by what their data sets say, however those are stored."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComprehensiveSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from slidecam.errors import RefusedSourceError
from slidecam.sources import open_source
from slidecam.sources._dicom import begins_as_dicom, identity_of, series_files
from slidecam.sources.discovery import find_slides
from slidecam.sources.volume import VolumeSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def planes(path: Path) -> NDArray[np.float32]:
    with open_source(path) as source:
        assert isinstance(source, VolumeSource)
        return np.asarray(source.array())


def refer_to_the_original(made: FileDataset) -> None:
    original = Dataset()
    original.SeriesInstanceUID = "1.2.826.0.7"
    made.ReferencedSeriesSequence = Sequence([original])


def hide_behind_private_elements(made: FileDataset) -> None:
    block = made.private_block(0x0019, "SLIDECAM TEST", create=True)
    block.add_new(0x10, "OB", bytes(200_000))


def store_deflated(made: FileDataset) -> None:
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian


def store_implicitly(made: FileDataset) -> None:
    made.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian


STORED = {
    "referring": refer_to_the_original,
    "private": hide_behind_private_elements,
    "deflated": store_deflated,
    "implicit": store_implicitly,
}


def two_series(
    folder: Path, writer: Any, head: NDArray[np.int16], change: Callable[[FileDataset], None]
) -> None:
    for letter, uid, voxels in (("A", "1.2.826.77", head), ("B", "1.2.826.78", head + 37)):
        made_in = writer.dicom(folder / letter, voxels[:, :, :5], SeriesInstanceUID=uid)
        for path in sorted(made_in.iterdir()):
            made = dcmread(path)
            change(made)
            made.save_as(folder / f"{letter}{path.name}")
            path.unlink()
        made_in.rmdir()


@pytest.mark.parametrize("stored", sorted(STORED))
def test_two_series_stay_two_however_their_files_are_stored(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], stored: str
) -> None:
    two_series(tmp_path, write_volume, head, STORED[stored])
    assert sorted(map(len, series_files(tmp_path).values())) == [5, 5]
    with pytest.raises(RefusedSourceError, match="2 DICOM series"):
        open_source(tmp_path)
    if stored == "deflated":
        return
    assert planes(tmp_path / "BIM0000.dcm").max() == head[:, :, :5].max() + 37
    assert planes(tmp_path / "AIM0000.dcm").max() == head[:, :, :5].max()


def test_big_endian_files_say_their_series_too(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "big", head[:, :, :5])
    expected = planes(series)
    for number, path in enumerate(sorted(series.iterdir())):
        read, made = dcmread(path), Dataset()
        for element in read:
            made.add(element)
        made.file_meta = read.file_meta
        made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        made.PixelData = np.frombuffer(read.PixelData, "<i2").astype(">i2").tobytes()
        made.save_as(path, enforce_file_format=True)
        if number == 4:
            made.SeriesInstanceUID = "1.2.826.79"
            made.save_as(series / "other", enforce_file_format=True)
    assert sorted(map(len, series_files(series).values())) == [1, 5]
    np.testing.assert_array_equal(planes(series / "IM0000.dcm"), expected)


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_and_suffix_are_read(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    implicit: bool,  # noqa: FBT001  (a table)
) -> None:
    series = write_volume.dicom(tmp_path / "bare", head, PatientID="VS-0815")
    expected = planes(series)
    for path in sorted(series.iterdir()):
        made, stream = dcmread(path), BytesIO()
        bare = Dataset(made)
        bare.save_as(stream, implicit_vr=implicit, little_endian=True)
        path.unlink()
        path.with_suffix("").write_bytes(stream.getvalue())
    np.testing.assert_array_equal(planes(series), expected)
    np.testing.assert_array_equal(planes(series / "IM0003"), expected)
    series.rename(tmp_path / "VS-0815")
    (slide,) = find_slides([tmp_path / "VS-0815"]).slides
    assert "0815" not in slide.shown


def test_what_has_no_pixels_is_passed_over_and_counted(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    expected = planes(series)
    for name, kind in (
        ("report", ComprehensiveSRStorage),
        ("DICOMDIR", MediaStorageDirectoryStorage),
    ):
        made = dcmread(series / "IM0003.dcm")
        for tag in ("PixelData", "Rows", "Columns"):
            delattr(made, tag)
        made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = kind
        made.save_as(series / name)
    np.testing.assert_array_equal(planes(series), expected)
    np.testing.assert_array_equal(planes(series / "IM0003.dcm"), expected)
    with open_source(series) as source:
        (reading,) = source.facts.readings
    assert "Comprehensive SR (1)" in reading
    assert "Media Storage Directory (1)" in reading
    assert [slide.name for slide in find_slides([series]).slides] == ["series"]


def test_bytes_that_begin_like_a_data_set_are_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for number in range(40):
        noise = tmp_path / str(number)
        noise.write_bytes(
            b"\x08\x00\x05\x00CS\x0a\x00" + rng.integers(0, 256, 999, np.uint8).tobytes()
        )
        assert begins_as_dicom(noise.read_bytes())
        found = identity_of(noise)
        assert found is None or not found.has_pixels


def test_a_file_that_names_no_series_is_one_by_itself(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    for path in series.iterdir():
        made = dcmread(path)
        del made.SeriesInstanceUID
        made.save_as(path)
    assert len(planes(series / "IM0003.dcm")) == 1
    assert len(planes(series)) == 12
