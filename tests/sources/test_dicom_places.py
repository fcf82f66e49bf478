"""How large a DICOM frame's pixels are, and what a vendor's own elements say of it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    ComprehensiveSRStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedUSVolumeStorage,
    UltrasoundImageStorage,
)

from slidecam.errors import RefusedSourceError, SourceError
from slidecam.sources import open_source
from slidecam.viewing import VolumeView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.sources import SourceFacts

SIEMENS, PHILIPS = ("SIEMENS MR HEADER", 0x0019), ("Philips Imaging DD 001", 0x2001)
GE, UNITED = ("GEMS_PARM_01", 0x0043), ("Image Private Header", 0x0065)


def facts_of(path: Path, name: str | None = None) -> SourceFacts:
    with open_source(path, view=VolumeView(volume=name)) as source:
        return source.facts


def voxels_of(path: Path, name: str | None = None) -> NDArray[np.float32]:
    with open_source(path, view=VolumeView(volume=name)) as source:
        return np.asarray(source.array())  # type: ignore[attr-defined]


def rewritten(folder: Path, change: Callable[[Dataset], None]) -> Path:
    for path in folder.iterdir():
        made = dcmread(path)
        change(made)
        made.save_as(path)
    return folder


def region(**more: Any) -> Dataset:
    made = Dataset()
    said = {
        "RegionSpatialFormat": 1,
        "PhysicalUnitsXDirection": 3,
        "PhysicalUnitsYDirection": 3,
        "PhysicalDeltaX": 0.0173,
        "PhysicalDeltaY": -0.0211,
    }
    for name, value in (said | more).items():
        setattr(made, name, value)
    return made


IN_CM, OF_TIME = region(), region(RegionSpatialFormat=3, PhysicalUnitsXDirection=4)
SIZES: dict[str, tuple[dict[str, Any], tuple[float, float], str]] = {
    "at the detector": (
        {"ImagerPixelSpacing": [0.139, 0.143]},
        (0.139, 0.143),
        "0.139 x 0.143 mm at the detector (ImagerPixelSpacing)",
    ),
    "projected": (
        {"ImagerPixelSpacing": [0.139, 0.143], "PixelSpacing": [0.139, 0.143]},
        (0.139, 0.143),
        "Its PixelSpacing, 0.139 x 0.143 mm, is that of the detector",
    ),
    "calibrated": (
        {"ImagerPixelSpacing": [0.139, 0.143], "PixelSpacing": [0.117, 0.121]},
        (0.117, 0.121),
        "",
    ),
    "film": (
        {"NominalScannedPixelSpacing": [0.171, 0.173]},
        (0.171, 0.173),
        "NominalScannedPixelSpacing",
    ),
    "region": ({"SequenceOfUltrasoundRegions": [IN_CM]}, (0.211, 0.173), ""),
    "region and doppler": (
        {"SequenceOfUltrasoundRegions": [OF_TIME, IN_CM, IN_CM]},
        (0.211, 0.173),
        "",
    ),
    "doppler alone": ({"SequenceOfUltrasoundRegions": [OF_TIME]}, (1, 1), "no PixelSpacing"),
    "two regions": (
        {"SequenceOfUltrasoundRegions": [IN_CM, region(PhysicalDeltaX=0.0319)]},
        (1, 1),
        "different sizes, 0.211 x 0.173 and 0.211 x 0.319 mm",
    ),
    "region-against-spacing": (
        {"SequenceOfUltrasoundRegions": [IN_CM], "PixelSpacing": [0.117, 0.121]},
        (0.117, 0.121),
        "0.117 x 0.121 mm, and its ultrasound region's 0.211 x 0.173 mm",
    ),
    "nothing but a shape": ({"PixelAspectRatio": [3, 7]}, (3 / 7, 1), "no PixelSpacing"),
}


@pytest.mark.parametrize("how", sorted(SIZES))
def test_the_size_of_pixels_is_the_patients_or_it_is_said_whose(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], how: str
) -> None:
    tags, expected, words = SIZES[how]
    kind = DigitalXRayImageStorageForPresentation
    if "SequenceOfUltrasoundRegions" in tags:
        kind = UltrasoundImageStorage

    def change(made: Dataset) -> None:
        del made.PixelSpacing
        made.SOPClassUID = kind
        for name, value in tags.items():
            setattr(made, name, Sequence(value) if name.startswith("Seq") else value)

    series = write_volume.dicom(tmp_path / "a", head[..., :1])
    facts = facts_of(rewritten(series, change))
    assert facts.stack is not None
    assert facts.stack.spacing_mm[1:] == pytest.approx(expected)
    if words:
        (reading,) = facts.readings
        assert words in reading
    else:
        assert facts.readings == ()


def test_a_volume_of_ultrasound_lies_where_its_own_frame_says_and_sides_are_a_guess(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    path = write_volume.enhanced(tmp_path / "many.dcm", head)
    expected, made = voxels_of(path), dcmread(path)
    made.SOPClassUID = EnhancedUSVolumeStorage
    del made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence
    turned = Dataset()
    turned.ImageOrientationVolume = [1, 0, 0, 0, 1, 0]
    made.SharedFunctionalGroupsSequence[0].PlaneOrientationVolumeSequence = Sequence([turned])
    for group in made.PerFrameFunctionalGroupsSequence:
        inner = Dataset()
        inner.ImagePositionVolume = group.PlanePositionSequence[0].ImagePositionPatient
        del group.PlanePositionSequence
        group.PlanePositionVolumeSequence = Sequence([inner])
    made.save_as(path)
    np.testing.assert_array_equal(voxels_of(path), expected)
    (reading,) = facts_of(path).readings
    assert "left and right are a guess" in reading


def test_an_enhanced_mosaic_is_refused_by_name(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    path = write_volume.enhanced(tmp_path / "many.dcm", head)
    made = dcmread(path)
    kind = Dataset()
    kind.FrameType = ["ORIGINAL", "PRIMARY", "FMRI", "MOSAIC"]
    made.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence = Sequence([kind])
    made.save_as(path)
    with pytest.raises(RefusedSourceError, match=r"Siemens mosaic.*dcm2niix"):
        open_source(path)


@pytest.mark.parametrize("sign", ["in words", "by number"])
def test_a_mosaic_that_its_image_type_does_not_name_is_one_all_the_same(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], sign: str
) -> None:
    def change(made: Dataset) -> None:
        made.ImageType = ["ORIGINAL", "PRIMARY", "FMRI", "NONE"]
        if sign == "in words":
            block = made.private_block(0x0021, "SIEMENS MR SDI 02", create=True)
            block.add_new(0x75, "CS", ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
        else:
            block = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
            block.add_new(0x0A, "US", 9)

    series = rewritten(write_volume.dicom(tmp_path / "a", head[..., :1]), change)
    with pytest.raises(RefusedSourceError, match=r"Siemens mosaic.*dcm2niix"):
        open_source(series)


PRIVATE: dict[str, tuple[tuple[str, int], int, str, Callable[[int], Any]]] = {
    "Siemens": (SIEMENS, 0x0C, "IS", str),
    "Siemens, of a kind nobody knows": (SIEMENS, 0x0C, "UN", lambda b: str(b).encode()),
    "Philips": (PHILIPS, 0x03, "FL", float),
    "Philips, of a kind nobody knows": (PHILIPS, 0x03, "UN", lambda b: struct.pack("<f", b)),
    "GE": (GE, 0x39, "IS", lambda b: [b, 8, 0, 0]),
    "GE, flagged": (GE, 0x39, "IS", lambda b: [1_000_000_000 + b, 8, 0, 0]),
    "United Imaging": (UNITED, 0x09, "FD", float),
}


@pytest.mark.parametrize("whose", sorted(PRIVATE))
@pytest.mark.parametrize("block_of_its_own", [False, True])
def test_a_vendors_own_b_value_names_volumes(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    whose: str,
    block_of_its_own: bool,  # noqa: FBT001 - a table
) -> None:
    (creator, group), element, kind, value = PRIVATE[whose]

    def with_b(b_value: int) -> Callable[[Dataset], None]:
        def change(made: Dataset) -> None:
            if block_of_its_own:
                made.private_block(group, "ANOTHER", create=True)
            made.private_block(group, creator, create=True).add_new(element, kind, value(b_value))
            # Numbers that follow neither volume.
            made.InstanceNumber = (7 * made.InstanceNumber + b_value) % 23

        return change

    first = rewritten(write_volume.dicom(tmp_path / "a", head), with_b(0))
    second = rewritten(write_volume.dicom(tmp_path / "b", head + 41), with_b(1350))
    expected = voxels_of(first)
    for path in [*second.iterdir()]:
        path.rename(first / f"b{path.name}")
    np.testing.assert_array_equal(voxels_of(first, "b 0"), expected)
    np.testing.assert_array_equal(voxels_of(first, "b 1350"), expected + 41)


def test_gradients_of_one_strength_are_told_apart_by_their_directions(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    def along(*direction: float) -> Callable[[Dataset], None]:
        def change(made: Dataset) -> None:
            block = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
            block.add_new(0x0C, "IS", "1350")
            block.add_new(0x0E, "FD", [*direction])
            # By their numbers alone, slices of both would be mixed.
            made.InstanceNumber = 1

        return change

    first = rewritten(write_volume.dicom(tmp_path / "a", head), along(0.6, 0.8, 0))
    second = rewritten(write_volume.dicom(tmp_path / "b", head + 41), along(0, 0.28, 0.96))
    expected = voxels_of(first)
    for number, path in enumerate([*second.iterdir()]):
        path.rename(first / f"{'az'[number % 2]}{path.name}")
    found = [voxels_of(first, f"direction {place}") for place in (1, 2)]
    found.sort(key=lambda each: float(each.mean()))
    np.testing.assert_array_equal(found, [expected, expected + 41])


def test_what_lies_beside_one_file_of_a_series_is_counted(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "a", head)
    other = write_volume.dicom(tmp_path / "b", head[..., :5], SeriesInstanceUID="1.2.826.78")
    for path in [*other.iterdir()]:
        path.rename(series / f"b{path.name}")
    report = Dataset()
    report.SOPClassUID, report.SeriesInstanceUID = ComprehensiveSRStorage, "1.2.826.79"
    report.file_meta = dcmread(series / "IM0007.dcm").file_meta
    report.save_as(series / "report.dcm", enforce_file_format=True)
    assert facts_of(series / "IM0007.dcm").readings == (
        "Files of the folder that are no pictures are left out: Comprehensive SR (1).",
        "Left out are 1 other series of the folder (5 files): pass a file of one to read it.",
    )


def damaged_place(made: Dataset) -> None:
    made.ImagePositionPatient = [1, 2]


def damaged_direction(made: Dataset) -> None:
    made.ImageOrientationPatient = [1, 0, 0]


def damaged_number(made: Dataset) -> None:
    made[0x00280010].VR = "ST"
    made[0x00280010].value = "many"


def damaged_size(made: Dataset) -> None:
    made.PixelSpacing = [0.8]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damaged_place, "1 of its slices does not say where it lies and is left out."),
        (damaged_direction, "1 of its pictures lie in another direction or shape"),
        (damaged_number, "1 of its files cannot be read and is left out"),
        (damaged_size, "1 of its pictures have another PixelSpacing"),
    ],
    ids=["place", "direction", "number", "size"],
)
def test_one_damaged_header_is_one_slice_less(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    damage: Callable[[Dataset], None],
    words: str,
) -> None:
    series = write_volume.dicom(tmp_path / "a", head)
    (last,) = (path for path in series.iterdir() if dcmread(path).InstanceNumber == 12)
    made = dcmread(last)
    damage(made)
    made.save_as(last)
    facts = facts_of(series)
    assert facts.planes == 11
    assert any(words in reading for reading in facts.readings)
    with pytest.raises(SourceError):
        facts_of(rewritten(series, damaged_number))


def of_no_unit(made: Dataset) -> None:
    made.ImageOrientationPatient = [2, 0, 0, 0, 2, 0]


def of_no_slope(made: Dataset) -> None:
    made.RescaleSlope = 0


def of_no_thickness(made: Dataset) -> None:
    del made.SliceThickness


def of_floats(made: Dataset) -> None:
    made.FloatPixelData = np.frombuffer(made.PixelData, "<i2").astype("<f4").tobytes()
    made.BitsAllocated = 32
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (of_no_unit, "no vectors of length 1: the directions alone are taken"),
        (of_no_slope, "RescaleSlope is 0, which has no meaning: it is taken for 1"),
        (of_no_thickness, ""),
        (of_floats, ""),
    ],
)
def test_what_has_no_meaning_is_said_and_changes_nothing(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    change: Callable[[Dataset], None],
    words: str,
) -> None:
    series = write_volume.dicom(tmp_path / "a", head)
    expected, place = voxels_of(series), facts_of(series).stack
    np.testing.assert_array_equal(voxels_of(rewritten(series, change)), expected)
    facts = facts_of(series)
    assert place is not None
    assert facts.stack is not None
    np.testing.assert_allclose(facts.stack.grid.affine, place.grid.affine)
    assert all(words in reading for reading in facts.readings)
    assert bool(facts.readings) == bool(words)


def test_that_nothing_says_how_thick_one_slice_is_is_said(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = rewritten(write_volume.dicom(tmp_path / "a", head[..., :1]), of_no_thickness)
    assert facts_of(series).readings == (
        "Nothing says how thick its slices are: 0.8 mm is assumed.",
    )


@pytest.mark.parametrize("seen", ["HSV", "CMYK", ""])
def test_colours_of_another_kind_are_refused_by_name(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], seen: str
) -> None:
    def change(made: Dataset) -> None:
        made.PhotometricInterpretation, made.SamplesPerPixel = seen, 3
        made.PixelData *= 3

    series = rewritten(write_volume.dicom(tmp_path / "a", head), change)
    with pytest.raises(
        RefusedSourceError, match=f"colours of this DICOM series are {seen or 'of'}"
    ):
        open_source(series)
