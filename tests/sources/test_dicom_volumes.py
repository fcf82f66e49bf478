"""DICOM series: sorted by place, what is odd about them noted, patients' names kept out."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML

from slidecam.errors import RefusedSourceError, RegionReadError, UnreadableSourceError
from slidecam.geometry import LevelBox
from slidecam.sources import open_source
from slidecam.sources.discovery import find_slides
from slidecam.sources.identifiers import Identifiers, identifiers_of, names_patient, plain
from slidecam.sources.volume import VolumeSource
from slidecam.sources.volume_grid import PlaneStack
from slidecam.viewing import VolumeView

if TYPE_CHECKING:
    from numpy.typing import NDArray

PATIENT = {"PatientName": "Roe^Janet", "PatientID": "VS-0815", "PatientBirthDate": "19660102"}


def stack(source: Any) -> PlaneStack:
    found = source.facts.stack
    assert isinstance(found, PlaneStack)
    return found


def volume(source: Any) -> NDArray[np.float32]:
    assert isinstance(source, VolumeSource)
    return np.asarray(source.array())


def test_slices_are_sorted_by_place_and_not_by_name(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    nifti, series = (
        write_volume.nifti(tmp_path / "a.nii", head),
        write_volume.dicom(tmp_path / "series", head),
    )
    with open_source(nifti) as expected, open_source(series) as found:
        np.testing.assert_array_equal(volume(found), volume(expected))
        np.testing.assert_allclose(
            stack(found).grid.spl_affine, stack(expected).grid.spl_affine, atol=1e-6
        )


def test_any_file_of_a_series_is_the_series(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    with open_source(series) as folder, open_source(max(series.iterdir())) as file:
        assert folder.facts.fingerprint == file.facts.fingerprint
        np.testing.assert_array_equal(volume(folder), volume(file))


def test_a_compression_that_no_decoder_reads_is_named(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    for path in series.iterdir():
        made = dcmread(path)
        made.file_meta.TransferSyntaxUID = MPEG2MPML
        made.PixelData = encapsulate([made.PixelData])
        made["PixelData"].VR = "OB"
        made.save_as(path)
    with pytest.raises(RefusedSourceError, match=r"MPEG2 Main Profile.*no decoder here"):
        open_source(series)


def test_a_header_without_pixels_is_no_damaged_series(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    for path in series.iterdir():
        made = dcmread(path)
        for name in ("PixelData", "Rows", "Columns"):
            delattr(made, name)
        made.save_as(path)
    with pytest.raises(RefusedSourceError, match=r"header of the kind .* without pixel data"):
        open_source(series)


def test_an_enhanced_file_is_the_same_volume(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series, many = (
        write_volume.dicom(tmp_path / "series", head),
        write_volume.enhanced(tmp_path / "many.dcm", head),
    )
    with open_source(series) as one, open_source(many) as other:
        assert "enhanced" in other.facts.format
        np.testing.assert_array_equal(volume(one), volume(other))
        np.testing.assert_allclose(
            stack(one).grid.spl_affine, stack(other).grid.spl_affine, atol=1e-6
        )


def test_missing_slices_are_noticed_and_their_places_kept(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    whole, holed = (
        write_volume.dicom(tmp_path / "w", head),
        write_volume.dicom(tmp_path / "h", head, skip=(4, 5)),
    )
    with open_source(whole) as complete, open_source(holed) as source:
        assert stack(source).missing == (4, 5)
        assert "2 slices are missing" in source.facts.readings[0]
        kept = [plane for plane in range(12) if plane not in {4, 5}]
        np.testing.assert_array_equal(volume(source)[kept], volume(complete)[kept])
        np.testing.assert_allclose(stack(source).positions, stack(complete).positions)


def test_a_series_that_begins_late_says_so(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    with open_source(write_volume.dicom(tmp_path / "late", head, skip=(0, 1))) as source:
        assert any("first instance is number 3" in note for note in source.facts.readings)


def test_rescaling_is_the_modalitys(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    scaled = write_volume.dicom(tmp_path / "s", head, RescaleSlope=2, RescaleIntercept=-7)
    with open_source(write_volume.dicom(tmp_path / "p", head)) as one, open_source(scaled) as other:
        np.testing.assert_allclose(volume(other), volume(one) * 2 - 7)


def test_two_frames_of_each_place_are_two_volumes(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    folder = write_volume.dicom(tmp_path / "echoes", head, EchoTime=10)
    other = write_volume.dicom(tmp_path / "second", head + 50, EchoTime=80)
    for path in other.iterdir():
        path.rename(folder / f"B{path.name}")
    with open_source(folder) as first, open_source(folder, view=VolumeView(volume="1")) as second:
        assert "holds 2 volumes" in first.facts.readings[0]
        np.testing.assert_array_equal(volume(second), volume(first) + 50)


def test_a_folder_of_two_series_asks_which(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    folder = write_volume.dicom(tmp_path / "one", head)
    other = write_volume.dicom(tmp_path / "two", head, SeriesInstanceUID="1.2.826.78")
    for path in other.iterdir():
        path.rename(folder / f"B{path.name}")
    with pytest.raises(UnreadableSourceError, match=r"2 DICOM series.*Pass one file"):
        open_source(folder)


def test_a_folder_named_after_its_patient_is_named_without(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    folder = write_volume.dicom(tmp_path / "vs_0815" / "t1", head, **PATIENT)
    with open_source(folder) as source:
        assert "0815" not in source.facts.path
        assert Path(source.facts.path).parts[-2:] == ("hidden", "t1")
        assert source.facts.name == "t1"
    alone = write_volume.dicom(tmp_path / "Janet Roe 2", head, **PATIENT)
    (slide,) = find_slides([alone]).slides
    with open_source(alone) as source:
        assert slide.name == source.facts.name
        assert slide.name.startswith("dicom-")
        assert slide.shown == source.facts.path
        assert "janet" not in slide.shown.lower()
    (kept,) = find_slides([alone], keep_identifiers=True).slides
    assert kept.name == "Janet Roe 2"
    assert kept.shown == str(alone)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vs_0815", True),
        ("T1_VS-0815_b", True),
        ("roe", True),
        ("heroes", False),
        ("pat Q77 T1", True),
        ("Xu_Li_T1", True),
        ("axial_lines", False),
        ("0", False),
        ("series 3", False),
        ("Anna_T1", True),
        ("annaT1", True),
        ("AnnaT1", True),
        ("T1 ANNA", True),
        ("annabelle", False),
        ("johannah", False),
        ("JOHANNA", False),
        ("MRAnna", True),
        ("JohAnna", True),
        ("Q772", False),
        ("AxialLi", False),
        ("77889", True),
        ("mr77889b", True),
        ("1778899", False),
        ("277889", False),
        ("myvs0815x", True),
        ("vs-0815-2", True),
        ("19610307", True),
        ("scan19610307T1", True),
        ("19610307104512", True),
        ("196103079", False),
    ],
)
def test_a_name_is_the_patients_where_it_is_one_or_has_one_as_a_part(
    name: str, *, expected: bool
) -> None:
    anywhere = frozenset({plain("VS-0815"), plain("Roe"), "3", "anna", "77889", "19610307"})
    known = Identifiers(anywhere, frozenset({"roe", "q77", "li", "anna"}))
    assert names_patient(name, known) is expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hmueller", True),
        ("T1_MUELLERH", True),
        ("hmuller_2", True),
        ("müllerh", True),
        ("mullerhof", False),
        ("scan_0042", True),
        ("0042", True),
        ("10042", False),
        ("scan_42", False),
    ],
)
def test_initials_and_the_number_of_an_identifier_name_the_patient(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], name: str, *, expected: bool
) -> None:
    tags = {
        "PatientName": "Müller^Hans",
        "PatientID": "P0042",
        "SpecificCharacterSet": "ISO_IR 192",
    }
    series = write_volume.dicom(tmp_path / "series", head[:, :, :2], **tags)
    assert names_patient(name, identifiers_of(next(series.iterdir()))) is expected


def test_a_file_that_is_cut_off_is_one_failed_slice_without_its_name(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    folder = write_volume.dicom(tmp_path / "series", head)
    file = sorted(folder.iterdir())[3]
    plane = int(dcmread(file).InstanceNumber) - 1
    file.write_bytes(file.read_bytes()[:-500])
    box = LevelBox(0, 0, 5, 5)
    with open_source(folder) as source:
        assert isinstance(source, VolumeSource)
        for good in {0, 1, 2, plane - 1, plane + 1} - {plane, -1, source.facts.planes}:
            np.testing.assert_array_equal(
                source.intensities(good).max(), head[:, :, good].max().astype(np.float32)
            )
            source.read(0, box, plane=good)
        with pytest.raises(RegionReadError, match="Cannot decode") as caught:
            source.read(0, box, plane=plane)
        assert file.name not in str(caught.value)
        source.say_what_is_broken()
        source.say_what_is_broken()
        (said,) = [note for note in source.facts.readings if "cannot be read" in note]
        assert said.startswith(f"1 of its slices cannot be read, such as {plane} (")
    with open_source(folder, view=VolumeView(axis="coronal")) as across:
        assert isinstance(across, VolumeSource)
        across.read(0, box, plane=9)
        across.say_what_is_broken()
        assert "they are dark here" in across.facts.readings[-1]


def test_dark_on_light_is_turned_by_the_files_range_and_air_stays_the_same_in_all_slices(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    header = {
        "PhotometricInterpretation": "MONOCHROME1",
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
    }
    plain_series = write_volume.dicom(tmp_path / "plain", head)
    turned = write_volume.dicom(tmp_path / "turned", (4095 - head).astype(np.int16), **header)
    with open_source(plain_series) as one, open_source(turned) as other:
        np.testing.assert_array_equal(volume(one), volume(other))


@pytest.mark.parametrize(
    "folder",
    [
        *("Müller", "Mu\u0308ller", "Muller", "Mueller", "987654321", "2019-12-24 brain"),
        *("24.12.2019", "12-24-19", "scan 24 Dec 2019", "7.3.1961", "07.03.1961", "610307_t1"),
        *("jürgenmüller t2", "T1_01.nii", "7Mar61", "1961-Mar-07", "0324 of 24Dec19"),
        *("JürgenT1", "3 7 1961", "3-07-1961", "MÜLLER_1", "MRMüller", "scan_20191224123100"),
    ],
)
def test_other_spellings_numbers_and_days_name_a_patient_too(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], folder: str
) -> None:
    header = {
        "PatientName": "Müller^Jürgen",
        "PatientID": "PID987654321",
        "PatientBirthDate": "19610307",
        "OtherPatientIDs": "B-J-01",
        "StudyDate": "20191224",
        "SpecificCharacterSet": "ISO_IR 192",
    }
    series = write_volume.dicom(tmp_path / folder, head[:, :, :3], **header)
    with open_source(series) as source:
        assert folder not in source.facts.path
        assert source.facts.name.startswith("dicom-")


@pytest.mark.parametrize(
    "folder",
    ["Juergensen", "mullerian", "19876543210", "30719612 voxels", "IM7361", "t1 1961", "B-J"],
)
def test_longer_words_and_numbers_that_hold_a_patients_are_not_hidden(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], folder: str
) -> None:
    header = {
        "PatientName": "Müller^Jürgen",
        "PatientID": "PID987654321",
        "PatientBirthDate": "19610307",
        "SpecificCharacterSet": "ISO_IR 192",
    }
    series = write_volume.dicom(tmp_path / folder, head[:, :, :3], **header)
    with open_source(series) as source:
        assert source.facts.name == folder


@settings(max_examples=6)
@given(
    voxel=st.tuples(*[st.floats(0.31, 3.7).map(lambda mm: round(mm, 3))] * 3),
    numbers=st.permutations(range(5)),
)
@example(voxel=(0.613, 1.127, 2.39), numbers=[4, 3, 2, 1, 0])
@example(voxel=(1.9, 0.7, 0.41), numbers=[0, 2, 4, 1, 3])
def test_oblong_voxels_lie_where_they_are_whatever_the_instances_numbers(
    tmp_path_factory: pytest.TempPathFactory,
    write_volume: Any,
    voxel: tuple[float, float, float],
    numbers: list[int],
) -> None:
    folder, writer = tmp_path_factory.mktemp("oblong"), copy(write_volume)
    writer.voxel = voxel
    voxels = np.random.default_rng(5).integers(0, 900, (6, 4, 5)).astype(np.int16)
    nifti = writer.nifti(folder / "a.nii", voxels)
    # Written once and not read again here: a reader that errs would err twice, and be right.
    instances = tuple(11 + number for number in numbers)
    series = writer.dicom(folder / "series", voxels, numbers=instances)
    with open_source(nifti) as expected, open_source(series) as found:
        assert stack(found).spacing_mm == pytest.approx((voxel[2], voxel[1], voxel[0]))
        np.testing.assert_array_equal(volume(found), volume(expected))
        np.testing.assert_allclose(
            stack(found).grid.spl_affine, stack(expected).grid.spl_affine, atol=1e-5
        )
