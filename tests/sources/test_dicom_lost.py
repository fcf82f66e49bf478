"""A file of a DICOM series that can no longer be read is a slice that failed, not one less."""

from __future__ import annotations

import gzip
import secrets
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.fileset import FileSet
from pydicom.uid import UID, MediaStorageDirectoryStorage

from slidecam.errors import RefusedSourceError, RegionReadError
from slidecam.geometry import LevelBox
from slidecam.sources import open_source
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def of_noise(file: Path) -> None:
    file.write_bytes(secrets.token_bytes(4099))


def cut(length: int) -> Callable[[Path], None]:
    def shorten(file: Path) -> None:
        file.write_bytes(file.read_bytes()[:length])

    return shorten


def up_to_its_rows(file: Path) -> None:
    made = dcmread(file)
    for name in ("PixelData", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(made, name)
    made.save_as(file)


DAMAGES = {
    "empty": emptied,
    "noise": of_noise,
    "no preamble": cut(90),
    "magic": cut(141),
    "meta": cut(311),
    "class": cut(507),
    "rows": up_to_its_rows,
}


@pytest.fixture
def series(tmp_path: Path, write_volume: Any, head: NDArray[np.int16]) -> Path:
    folder: Path = write_volume.dicom(tmp_path / "series", head)
    return folder


def file_of(series: Path, number: int) -> Path:
    (file,) = (path for path in series.iterdir() if dcmread(path).InstanceNumber == number)
    return file


@pytest.mark.parametrize("suffix", [".dcm", ""])
@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_slice_whose_file_is_lost_has_failed(
    series: Path, head: NDArray[np.int16], damage: str, suffix: str
) -> None:
    for path in series.iterdir():
        path.rename(path.with_suffix(suffix))
    DAMAGES[damage](file_of(series, 6))
    (slide,) = find_slides([series]).slides
    assert slide.path == str(series)
    with open_source(series) as source:
        volume: Any = source
        assert source.facts.stack is not None
        assert source.facts.stack.missing == ()
        assert [*volume.broken] == [5]
        for plane in (0, 4, 6, 11):
            assert volume.intensities(plane).max() == head[:, :, plane].max()
        with pytest.raises(RegionReadError, match="empty, cut off, damaged or no DICOM"):
            source.read(0, LevelBox(0, 0, 5, 5), plane=5)
        source.say_what_is_broken()  # type: ignore[attr-defined]
        assert any("cannot be read, such as 5 (" in each for each in source.facts.readings)


@pytest.mark.parametrize("damage", sorted(DAMAGES))
@pytest.mark.parametrize("number", [1, 12])
def test_a_lost_file_at_an_end_is_told_though_no_gap_shows_it(
    series: Path, damage: str, number: int
) -> None:
    DAMAGES[damage](file_of(series, number))
    with open_source(series) as source:
        assert source.facts.planes == 11
        assert any(
            "an end of the volume may be lost" in each or "cannot be read and is left out" in each
            for each in source.facts.readings
        )


@pytest.mark.parametrize("damage", sorted(DAMAGES))
@pytest.mark.parametrize("numbers", [(1,), (12,), (5, 12), (1, 2)])
def test_lost_files_of_which_nothing_says_where_they_lay_are_counted(
    series: Path, damage: str, numbers: tuple[int, ...]
) -> None:
    files = [file_of(series, number) for number in numbers]
    for file in files:
        DAMAGES[damage](file)
    with open_source(series) as source:
        volume: Any = source
        assert volume.unplaced == len(numbers) - (5 in numbers)
        assert volume.unplaced_words.endswith("of its series and cannot be read")
        assert [*volume.broken] == [4] * (5 in numbers)


@pytest.mark.parametrize("how", ["cut", "header", "empty"])
@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        ("1.2.840.10008.1.2.5", None),
        ("1.2.840.10008.1.2.4.90", imagecodecs.jpeg2k_encode),
        ("1.2.840.10008.1.2.4.80", imagecodecs.jpegls_encode),
    ],
    ids=["RLE", "JPEG 2000", "JPEG-LS"],
)
def test_a_damaged_frame_is_described_in_words_that_are_no_librarys(
    series: Path, syntax: str, encode: Any, how: str
) -> None:
    file = file_of(series, 6)
    made = dcmread(file)
    if encode is None:
        made.compress(syntax)
        (encoded,) = generate_frames(made.PixelData, number_of_frames=1)
    else:
        stored = made.pixel_array.astype(np.uint16)
        encoded = bytes(encode(stored, level=0))
        made.PixelRepresentation = 0
        made.file_meta.TransferSyntaxUID = UID(syntax)
    damaged = {
        "cut": encoded[: len(encoded) // 2],
        "header": bytes(64) + encoded[64:],
        "empty": b"",
    }
    content = damaged[how]
    made.PixelData = encapsulate([content + b"\0" * (len(content) % 2 or 2)])
    made["PixelData"].is_undefined_length = True
    made.save_as(file)
    with open_source(series) as source:
        broken: Any = source.broken  # type: ignore[attr-defined]
    assert [*broken] == [5]
    assert broken[5].startswith("its pixels")
    assert UID(syntax).name in broken[5]
    assert any(words in broken[5] for words in ("end early", "damaged", "spoilt"))
    for foreign in ("NoneType", "BytesIO", "expected amount", "marker", "segments"):
        assert foreign not in broken[5]


def test_other_files_beside_a_series_are_no_slices_of_its(series: Path) -> None:
    file_of(series, 6).unlink()
    (series / "README").write_text("scanned on a Monday")
    (series / "Thumbs.db").write_bytes(b"\0" * 991)
    with open_source(series) as source:
        assert source.facts.stack is not None
        assert source.facts.stack.missing == (5,)
        assert not any("as it seems" in each for each in source.facts.readings)


def test_a_lost_file_is_of_the_series_that_it_is_named_like(
    series: Path, tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    other = write_volume.dicom(tmp_path / "other", head, SeriesInstanceUID="1.2.3.4.77")
    for path in other.iterdir():
        path.rename(series / f"T{path.name}")
    emptied(series / "IM0003.dcm")
    found = []
    for name in ("IM0000.dcm", "TIM0000.dcm"):
        with open_source(series / name) as source:
            found.append(any("as it seems" in each for each in source.facts.readings))
    assert found == [True, False]


def test_pixels_that_end_early_are_called_that(series: Path) -> None:
    file = file_of(series, 6)
    file.write_bytes(file.read_bytes()[:-503])
    with open_source(series) as source:
        assert source.broken == {5: "its pixels end early"}  # type: ignore[attr-defined]


def test_a_medium_is_its_one_series_or_names_several(
    series: Path, tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    made = dcmread(series / "IM0003.dcm")
    for tag in ("PixelData", "Rows", "Columns"):
        delattr(made, tag)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    made.save_as(tmp_path / "DICOMDIR")
    for path in (tmp_path, tmp_path / "DICOMDIR"):
        with open_source(path) as source:
            assert source.facts.planes == 12
    write_volume.dicom(tmp_path / "other", head, SeriesInstanceUID="1.2.3.4.77")
    for path in (tmp_path, tmp_path / "DICOMDIR"):
        with pytest.raises(RefusedSourceError, match=r"medium of 2 folders.*other, series"):
            open_source(path)


@pytest.fixture
def medium(series: Path, tmp_path: Path) -> Path:
    """Return a medium with a series on it, as pydicom writes it."""
    files = FileSet()
    for path in sorted(series.iterdir()):
        made = dcmread(path)
        made.StudyDate, made.StudyTime, made.StudyID = "20240307", "101530", "S7"
        made.StudyInstanceUID = "1.2.826.77.4711"
        made.SeriesNumber, made.PatientID, made.PatientName = 3, "QX7719", "Roe^Jo"
        files.add(made)
    files.write(tmp_path / "medium")
    files._stage["t"].cleanup()
    return tmp_path / "medium"


def pictures_of(medium: Path) -> dict[int, Path]:
    """Return a medium's files by their instance numbers."""
    found = {}
    for path in medium.rglob("*"):
        if path.is_file() and path.name != "DICOMDIR":
            found[int(dcmread(path).InstanceNumber)] = path
    return found


def test_a_medium_that_is_as_its_list_says_has_nothing_said_of_it(medium: Path) -> None:
    for path in (medium, medium / "DICOMDIR", pictures_of(medium)[4]):
        with open_source(path) as source:
            assert source.facts.planes == 12
            assert not any("DICOMDIR" in reading for reading in source.facts.readings)
            assert source.unplaced == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(("number", "broken", "unplaced"), [(6, [5], 0), (12, [], 1), (1, [], 1)])
@pytest.mark.parametrize("small", [False, True])
def test_what_a_mediums_list_names_and_is_not_there_is_a_lost_slice(
    medium: Path, number: int, broken: list[int], unplaced: int, *, small: bool
) -> None:
    pictures = pictures_of(medium)
    lost = pictures.pop(number)
    lost.unlink()
    if small:
        for path in pictures.values():
            path.rename(path.with_name(path.name.lower()))
    for path in (medium, medium / "DICOMDIR"):
        with open_source(path) as source:
            volume: Any = source
            assert [*volume.broken] == broken
            assert volume.unplaced == unplaced
            said = " ".join(source.facts.readings)
        assert f"names 1 is missing ({lost.name})" in said
        assert f"names 12 files: 1 is missing ({lost.name})" in said
    assert any("12 files: 1 is missing" in note for note in find_slides([medium]).ignored)


def test_files_that_a_mediums_list_does_not_name_are_counted(
    medium: Path,
) -> None:
    picture = pictures_of(medium)[3]
    made = dcmread(picture)
    made.InstanceNumber = 13
    x, y, z = made.ImagePositionPatient
    made.ImagePositionPatient = [x, y, z + 400]
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID("1.2.826.77.991")
    made.save_as(picture.with_name("EXTRA"))
    with open_source(medium) as source:
        said = source.facts.readings
    assert "1 DICOM files of the medium are not in its list (DICOMDIR)." in said
    assert any(each.startswith("1 of its files are not in the list") for each in said)


def count_of(series: Path) -> tuple[int, str]:
    """Return the slices that are read of a series, and what is said of it."""
    with open_source(series) as source:
        return source.facts.planes, " ".join(source.facts.readings)


@pytest.mark.parametrize(("counted", "held"), [(None, 3), ("0", 2), ("1", 3), ("2", 5)])
def test_frames_that_a_header_does_not_count_are_told(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], counted: str | None, held: int
) -> None:
    series = write_volume.dicom(tmp_path / "series", head[:, :, :4])
    one = file_of(series, 3)
    for path in set(series.iterdir()) - {one}:
        path.unlink()
    made = dcmread(one)
    made.NumberOfFrames, made.SpacingBetweenSlices = counted, 4.7
    if counted is None:
        del made.NumberOfFrames
    made.PixelData *= held
    made.save_as(one)
    slices, said = count_of(series)
    beyond = held - max(1, int(counted or 1))
    assert f"pixels for {beyond} more frames than their headers say" in said
    assert slices + beyond == held


def test_a_header_of_more_pixels_than_the_file_holds_takes_no_memory_for_them(
    series: Path,
) -> None:
    for path in series.iterdir():
        made = dcmread(path)
        made.Rows, made.Columns = 65_535, 65_534
        made.save_as(path)
    with pytest.raises(RefusedSourceError, match="65534 x 65535 pixels"):
        open_source(series)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"ImagesInAcquisition": 17}, "17 images (ImagesInAcquisition), and 12 are here"),
        ({"NumberOfSlices": 14}, "14 slices (NumberOfSlices)"),
        ({"NumberOfTemporalPositions": 3}, "3 positions in time"),
        ({"InConcatenationTotalNumber": 13}, "13 parts, and 12 are here"),
        ({"ImagesInAcquisition": 12, "NumberOfSlices": 12, "NumberOfTemporalPositions": 1}, ""),
    ],
)
def test_a_count_that_the_files_do_not_come_up_to_is_told(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], tags: dict[str, int], said: str
) -> None:
    slices, words = count_of(write_volume.dicom(tmp_path / "series", head[:, :, :12], **tags))
    assert slices == 12
    assert said in words
    assert said or not words


def test_slices_that_were_packed_or_not_fetched_are_lost(
    series: Path, head: NDArray[np.int16]
) -> None:
    last = head.shape[2]
    packed, linked = file_of(series, last), file_of(series, last - 1)
    packed.with_name(f"{packed.name}.gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    linked.unlink()
    linked.symlink_to(series / ".git" / "annex" / "objects" / "of no file")
    slices, said = count_of(series)
    assert slices == last - 2
    assert "2 files of its folder were slices" in said
    assert "an end of the volume may be lost" in said
