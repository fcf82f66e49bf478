"""Every frame of a DICOM series is accounted for, in its place, in the volume it belongs to."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    NuclearMedicineImageStorage,
    RTDoseStorage,
    UltrasoundMultiFrameImageStorage,
)

from slidecam.errors import RefusedSourceError
from slidecam.sources import open_source
from slidecam.sources._dicom_frames import Frame, frames_of
from slidecam.sources._dicom_stacks import volumes_of
from slidecam.sources.volume import VolumeSource
from slidecam.viewing import VolumeView

if TYPE_CHECKING:
    from collections.abc import Sequence as Several

    from numpy.typing import NDArray

    from slidecam.sources.volume_grid import PlaneStack

AXIAL = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def read(
    path: Path, name: str | None = None
) -> tuple[NDArray[np.float32], PlaneStack, tuple[str, ...]]:
    with open_source(path, view=VolumeView(volume=name)) as source:
        assert isinstance(source, VolumeSource)
        assert source.facts.stack is not None
        return np.asarray(source.array()), source.facts.stack, source.facts.readings


def merged(folder: Path, *others: Path) -> Path:
    for other in others:
        for path in sorted(other.iterdir()):
            path.rename(folder / f"{other.name}{path.name}")
    return folder


@given(data=st.data(), planes=st.integers(5, 9), gap=st.floats(0.4, 7), lean=st.floats(-0.5, 0.5))
def test_frames_in_any_order_come_to_lie_by_place_in_volumes_by_what_they_are(
    data: st.DataObject, planes: int, gap: float, lean: float
) -> None:
    # Component, echo, b-value and time; acquisitions and instances are numbered without regard.
    kinds = st.tuples(st.sampled_from("MP"), *[st.integers(0, 3)] * 3)
    volumes = sorted(data.draw(st.lists(kinds, min_size=1, max_size=4, unique=True)))
    instances = iter(data.draw(st.permutations(range(planes * len(volumes)))))
    lost = data.draw(st.one_of(st.none(), st.integers(1, planes - 2)))
    placed: list[list[Frame | None]] = []
    for component, echo, b_value, time in volumes:
        placed.append([])
        for plane in range(planes):
            # Slices lean against their normal, as those of a tilted gantry do.
            position = (3.7 + lean * plane, -11.3, gap * plane - 20.9)
            traits = (
                ("image type", f"ORIGINAL\\PRIMARY\\{component}\\ND"),
                ("echo", float(echo)),
                ("b", float(b_value)),
                ("temporal position", float(time)),
                ("acquisition", float(data.draw(st.integers(1, 3)))),
            )
            frame = Frame(
                Path("x.dcm"),
                0,
                4,
                5,
                1,
                position,
                AXIAL,
                (0.7, 0.9),
                1,
                0,
                traits,
                next(instances),
                gap,
            )
            placed[-1].append(None if plane == lost else frame)
    everything = [one for stack in placed for one in stack if one]
    found = volumes_of(data.draw(st.permutations(everything)), gap)
    assert [list(stack.frames) for stack in found.stacks] == placed
    assert found.left_out == 0
    assert len({stack.name for stack in found.stacks}) == len(volumes)
    for stack in found.stacks:
        np.testing.assert_allclose(stack.step, (lean, 0, gap), atol=1e-9)
    assert bool(found.readings) == (lost is not None)


FILES = st.fixed_dictionaries(
    {
        "frames": st.integers(1, 5),
        "groups": st.integers(0, 5),
        "z": st.integers(0, 6),
        "x": st.sampled_from([0.0, 0.0, 0.0, 37.0]),
        "spacing": st.sampled_from([0.83, 0.83, 1.66]),
        "turned": st.sampled_from([False, False, False, True]),
        "placed": st.sampled_from([True, True, False]),
        "echo": st.sampled_from([None, 11.3, 78.9]),
        "kind": st.sampled_from(["classic", "classic", "enhanced", "stepped", "offsets", "mosaic"]),
    }
)


def write_header(path: Path, said: dict[str, Any], number: int) -> int:
    """Write a file's header as drawn, without pixels, and return how many slices it stores."""
    made = Dataset()
    made.SOPClassUID, made.SeriesInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.826.7"
    made.Rows, made.Columns, made.InstanceNumber, made.BitsAllocated = 12, 18, number, 16
    position, turned = [said["x"], -3.1, 2.3 * said["z"]], [0, 1, 0, 0, 0, 1]
    orientation = turned if said["turned"] else [1, 0, 0, 0, 1, 0]
    made.PixelSpacing = [said["spacing"]] * 2
    if said["placed"]:
        made.ImagePositionPatient, made.ImageOrientationPatient = position, orientation
    if said["echo"] is not None:
        made.EchoTime = said["echo"]
    stored = 1
    if said["kind"] in {"enhanced", "stepped", "offsets"}:
        stored = made.NumberOfFrames = said["frames"]
    if said["kind"] == "enhanced":
        groups = [Dataset() for _ in range(min(said["groups"], stored))]
        for place, group in enumerate(groups):
            inner = Dataset()
            inner.ImagePositionPatient = [said["x"], -3.1, 2.3 * (said["z"] + place // 2)]
            group.PlanePositionSequence = Sequence([inner])
        made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    if said["kind"] == "stepped":
        made.SpacingBetweenSlices = 2.3
    if said["kind"] == "offsets" and stored > 1:
        made.GridFrameOffsetVector = [2.3 * place for place in range(stored)]
    if said["kind"] == "mosaic" and said["placed"]:
        stored = said["frames"]
        made.ImageType, made.SpacingBetweenSlices = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], 2.3
        block = made.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", csa_header(stored, (0.0, 0.0, 1.0)))
    made.save_as(path, implicit_vr=False, little_endian=True)
    return stored


def csa_header(slices: int, normal: tuple[float, float, float]) -> bytes:
    """Return a Siemens CSA2 header of two tags."""
    tags = {
        "NumberOfImagesInMosaic": (b"US", [str(slices)]),
        "SliceNormalVector": (b"FD", [f"{each:.8f}" for each in normal]),
    }
    made = b"SV10\4\3\2\1" + struct.pack("<2I", len(tags), 77)
    for name, (kind, items) in tags.items():
        made += struct.pack("<64si4s3i", name.encode(), len(items), kind, 0, len(items), 77)
        for item in items:
            text = item.encode() + b"\0"
            made += struct.pack("<4i", len(text), len(text), 77, len(text))
            made += text + b"\0" * (-len(text) % 4)
    return made


@settings(max_examples=25)
@given(files=st.lists(FILES, min_size=1, max_size=14))
def test_frames_stored_are_those_in_volumes_and_those_left_out(
    tmp_path_factory: pytest.TempPathFactory, files: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("series")
    stored = 0
    for number, said in enumerate(files):
        stored += write_header(folder / f"{number:02d}", said, number)
    frames, failures = frames_of("series", sorted(folder.iterdir()))
    assert failures == []
    assert len(frames) == stored
    found = volumes_of(frames, 2.3)
    kept: list[Frame] = []
    for stack in found.stacks:
        kept += filter(None, stack.frames)
    assert len(kept) == len(set(kept))
    assert len(kept) + found.left_out == stored
    assert bool(found.left_out) <= any("left out" in reading for reading in found.readings)


def test_echoes_are_told_apart_by_their_times_and_named_by_them(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    first = write_volume.dicom(tmp_path / "a", head, EchoTime=11.3, AcquisitionNumber=1)
    second = write_volume.dicom(tmp_path / "b", head + 41, EchoTime=78.9, AcquisitionNumber=2)
    expected, stack, _readings = read(first)
    for number, path in enumerate(sorted(first.iterdir()) + sorted(second.iterdir())):
        made = dcmread(path)
        made.AcquisitionNumber = number % 2 + 1
        made.SpacingBetweenSlices = stack.spacing_mm[0]
        made.save_as(path)
    merged(first, second)
    short, _stack, (reading,) = read(first)
    assert reading == (
        "It holds 2 volumes: volume 0 (echo 1, 11.3 ms) is read; pass --volume to read another"
        " (0: echo 1, 11.3 ms; 1: echo 2, 78.9 ms)."
    )
    np.testing.assert_array_equal(short, expected)
    np.testing.assert_array_equal(read(first, "echo 2, 78.9 ms")[0], expected + 41)
    with pytest.raises(RefusedSourceError, match=r"0: echo 1, 11\.3 ms"):
        read(first, "echo 3")


def shifted(folder: Path, mm: float) -> Path:
    """Return a series of axial slices, moved up."""
    for path in folder.iterdir():
        made = dcmread(path)
        x, y, z = map(float, made.ImagePositionPatient)
        made.ImagePositionPatient = [x, y, round(z + mm, 4)]
        made.save_as(path)
    return folder


@pytest.mark.parametrize("share", [0.5, 0.31])
@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"EchoTime": 78.9}, "echo 2, 78.9 ms"),
        ({"TemporalPositionIdentifier": 2}, "temporal position 2"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "phase"),
        ({"AcquisitionNumber": 2}, "acquisition 2"),
    ],
    ids=["echo", "time", "phase", "acquisition"],
)
def test_volumes_of_which_one_lies_between_the_slices_of_the_other_are_two(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    share: float,
    said: dict[str, Any],
    name: str,
) -> None:
    plain: dict[str, Any] = {
        "EchoTime": 11.3,
        "TemporalPositionIdentifier": 1,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
        "AcquisitionNumber": 1,
    }
    first = write_volume.dicom(tmp_path / "a", head, **plain)
    second = write_volume.dicom(tmp_path / "b", head + 41, **{**plain, **said})
    one, stack, _ = read(first)
    step = stack.spacing_mm[0]
    for path in (*first.iterdir(), *second.iterdir()):
        made = dcmread(path)
        made.SpacingBetweenSlices = step
        made.save_as(path)
    merged(first, shifted(second, share * step))
    short, its_stack, readings = read(first)
    assert any(reading.startswith("It holds 2 volumes") for reading in readings)
    np.testing.assert_array_equal(short, one)
    np.testing.assert_allclose(its_stack.positions, stack.positions, atol=1e-3)
    other, moved, _ = read(first, name)
    np.testing.assert_array_equal(other, one + 41)
    np.testing.assert_allclose(moved.positions - stack.positions, share * step, atol=1e-3)


def test_slices_taken_in_turns_by_two_acquisitions_are_one_volume(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    folder = write_volume.dicom(tmp_path / "a", head)
    expected, stack, before = read(folder)
    lowest, step = stack.positions.min(), stack.spacing_mm[0]
    for path in folder.iterdir():
        made = dcmread(path)
        number = round((float(made.ImagePositionPatient[2]) - lowest) / step)
        made.AcquisitionNumber = number % 2 + 1
        made.SpacingBetweenSlices = step
        made.save_as(path)
    found, _stack, readings = read(folder)
    np.testing.assert_array_equal(found, expected)
    assert len(readings) <= len(before)


@pytest.mark.parametrize("acquired", [True, False])
def test_repetitions_half_a_step_apart_that_nothing_tells_apart_are_said(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], *, acquired: bool
) -> None:
    first = write_volume.dicom(tmp_path / "a", head)
    second = write_volume.dicom(tmp_path / "b", head + 41)
    _one, stack, _ = read(first)
    for path in (*first.iterdir(), *second.iterdir()):
        made = dcmread(path)
        made.InstanceNumber += 12 * (path.parent == second)
        if acquired:
            made.AcquisitionNumber = 1 + (path.parent == second)
        made.save_as(path)
    merged(first, shifted(second, stack.spacing_mm[0] / 2))
    found, _stack, readings = read(first)
    assert len(found) == 24
    words = ["By their instance numbers its slices are 2 runs"]
    words += ["Its slices differ in acquisition (2 values)"] * acquired
    for each in words:
        assert sum(reading.startswith(each) for reading in readings) == 1


def test_a_volume_whose_slices_end_between_those_of_a_longer_one_is_another(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    first = write_volume.dicom(tmp_path / "a", head, EchoTime=11.3)
    second = write_volume.dicom(tmp_path / "b", head[:, :, :5] + 41, EchoTime=78.9)
    one, stack, _ = read(first)
    merged(first, shifted(second, stack.spacing_mm[0] / 2))
    found, _stack, readings = read(first)
    np.testing.assert_array_equal(found, one)
    assert any("do not hold the same number of slices" in each for each in readings)


def test_an_echo_of_its_own_for_each_slice_is_said(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    folder = write_volume.dicom(tmp_path / "a", head)
    for number, path in enumerate(folder.iterdir()):
        made = dcmread(path)
        made.EchoTime = 11.3 + number
        made.save_as(path)
    readings = read(folder)[2]
    assert any(each.startswith("Its slices differ in echo (12 values)") for each in readings)


def test_slices_of_two_patients_are_two_volumes_and_none_is_named(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    first = write_volume.dicom(tmp_path / "a", head, PatientID="QX7719")
    second = write_volume.dicom(tmp_path / "b", head + 41, PatientID="RL0452")
    merged(first, second)
    _found, _stack, readings = read(first)
    assert readings[0].startswith("It holds 2 volumes: volume 0 (patient 1) is read")
    assert not any("QX7719" in reading or "RL0452" in reading for reading in readings)


def test_what_differs_from_end_to_end_of_one_volume_is_said(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    folder = write_volume.dicom(tmp_path / "a", head)
    expected = read(folder)[0]
    middle = sum(float(dcmread(path).ImagePositionPatient[2]) for path in folder.iterdir()) / 12
    for path in folder.iterdir():
        made = dcmread(path)
        made.FlipAngle = 17 + 4 * (made.ImagePositionPatient[2] > middle)
        made.save_as(path)
    found, _stack, readings = read(folder)
    np.testing.assert_array_equal(found, expected)
    (said,) = [each for each in readings if "flip angle" in each]
    assert said.startswith("Its slices differ in flip angle (2 values), and no two of one place")


def test_magnitude_and_phase_are_two_volumes(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    phase = write_volume.dicom(
        tmp_path / "p", head + 41, ImageType=["ORIGINAL", "PRIMARY", "P", "ND"], InstanceNumber=1
    )
    magnitude = write_volume.dicom(
        tmp_path / "q", head, ImageType=["ORIGINAL", "PRIMARY", "M", "ND"], InstanceNumber=1
    )
    expected = read(magnitude)[0]
    merged(phase, magnitude)
    np.testing.assert_array_equal(read(phase)[0], expected)
    np.testing.assert_array_equal(read(phase, "magnitude")[0], expected)
    np.testing.assert_array_equal(read(phase, "Phase")[0], expected + 41)


def test_volumes_of_different_lengths_and_repeated_slices_are_told(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "a", head, EchoTime=11.3)
    other = write_volume.dicom(tmp_path / "b", head, EchoTime=78.9, skip=(0, 1, 2))
    again = write_volume.dicom(tmp_path / "c", head + 7, EchoTime=11.3, skip=tuple(range(11)))
    merged(series, other, again)
    voxels, _stack, readings = read(series)
    assert len(voxels) == 12
    assert any("repeats the place of another and is left out" in each for each in readings)
    assert any("echo 1, 11.3 ms: 12; echo 2, 78.9 ms: 9" in each for each in readings)
    assert len(read(series, "1")[0]) == 9


@pytest.mark.parametrize("order", ["volumes", "places", "zigzag", "random"])
@pytest.mark.parametrize("said", ["echo", "b", "index"])
def test_enhanced_frames_in_any_order_give_the_same_volumes(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], order: str, said: str
) -> None:
    both = np.concatenate([head, head + 41], axis=2)
    path = write_volume.enhanced(tmp_path / "many.dcm", both)
    made, planes = dcmread(path), head.shape[2]
    stored = np.frombuffer(made.PixelData, "<i2").reshape(2 * planes, *head.shape[1::-1])
    numbers = [*range(2 * planes)]
    if order == "places":
        numbers.sort(key=lambda each: (each % planes, each))
    if order == "zigzag":
        numbers.sort(key=lambda each: (each % planes, each * (-1) ** (each % planes)))
    if order == "random":
        np.random.default_rng(8).shuffle(numbers)
    groups: list[Dataset] = []
    for number in numbers:
        kind, place = divmod(number, planes)
        group, position, content = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-15.6, -18.8, 2.0 * place - 11.0]
        content.DimensionIndexValues = [1, place + 1, kind + 1]
        group.PlanePositionSequence = Sequence([position])
        if said == "index":
            group.FrameContentSequence = Sequence([content])
        inner = Dataset()
        if said == "echo":
            inner.EffectiveEchoTime = (11.3, 78.9)[kind]
            group.MREchoSequence = Sequence([inner])
        if said == "b":
            inner.DiffusionBValue = (0.0, 1050.0)[kind]
            group.MRDiffusionSequence = Sequence([inner])
        groups.append(group)
    made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    made.PixelData = stored[::-1][numbers].tobytes()
    made.save_as(path)
    expected = read(write_volume.dicom(tmp_path / "series", head))[0]
    np.testing.assert_array_equal(read(path)[0], expected)
    np.testing.assert_array_equal(read(path, "1")[0], expected + 41)
    (reading,) = read(path)[2]
    named = {"echo": "echo 2, 78.9 ms", "b": "b 1050", "index": "dimension 3: 2"}
    assert named[said] in reading


@pytest.mark.parametrize("said", ["of none", "of most"])
def test_frames_that_do_not_say_where_they_lie_are_no_slices_among_others(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], said: str
) -> None:
    path = write_volume.enhanced(tmp_path / "many.dcm", head)
    expected, made = read(path)[0], dcmread(path)
    groups = made.PerFrameFunctionalGroupsSequence
    for group in groups[9:] if said == "of most" else groups:
        del group.PlanePositionSequence
    made.save_as(path)
    voxels, _stack, readings = read(path)
    if said == "of most":  # they are written from the top down
        np.testing.assert_array_equal(voxels, expected[3:])
        assert "3 of its slices do not say where they lie and are left out." in readings
    else:
        np.testing.assert_array_equal(voxels, expected[11:])
        assert readings[0].startswith("It holds 12 frames of which no file says where they lie")


def mosaic_of(series: Path, head: NDArray[np.int16], path: Path, *, csa: bool = True) -> Path:
    """Write the slices of a series as one Siemens mosaic of 4 x 4 fields."""
    files = sorted(map(dcmread, series.iterdir()), key=lambda made: made.ImagePositionPatient[2])
    made, (columns, rows, planes) = files[0], head.shape
    picture = np.zeros((4 * rows, 4 * columns), np.int16)
    for number, each in enumerate(files):
        row, column = divmod(number, 4)
        field = (
            slice(row * rows, (row + 1) * rows),
            slice(column * columns, (column + 1) * columns),
        )
        picture[field] = each.pixel_array
    x, y, z = map(float, made.ImagePositionPatient)
    down, across = map(float, made.PixelSpacing)
    made.ImagePositionPatient = [x - across * columns * 1.5, y - down * rows * 1.5, z]
    made.Rows, made.Columns = picture.shape
    made.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    made.SpacingBetweenSlices = 2.0
    made.PixelData = picture.tobytes()
    if csa:
        block = made.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        block.add_new(0x10, "OB", csa_header(planes, (0.0, 0.0, 1.0)))
    made.save_as(path)
    return path


def test_a_siemens_mosaic_is_its_slices(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    path = mosaic_of(series, head, tmp_path / "mosaic")
    expected, place, _readings = read(series)
    found, found_place, readings = read(path)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found_place.grid.spl_affine, place.grid.spl_affine, atol=1e-6)
    assert readings == ()


def test_a_mosaic_that_does_not_say_how_its_slices_lie_is_refused_by_name(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    path = mosaic_of(
        write_volume.dicom(tmp_path / "series", head), head, tmp_path / "mosaic", csa=False
    )
    with pytest.raises(RefusedSourceError, match=r"Siemens mosaic.*dcm2niix"):
        open_source(path)


def many_of(series: Path, path: Path, kind: UID, **tags: Any) -> Path:
    """Write the slices of a series as one file of many frames without functional groups."""
    files = sorted(map(dcmread, series.iterdir()), key=lambda made: made.ImagePositionPatient[2])
    made = files[0]
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = kind
    made.PixelData = b"".join(each.PixelData for each in files)
    made.NumberOfFrames = len(files)
    for name, value in tags.items():
        setattr(made, name, value)
    made.save_as(path)
    return path


STATED: dict[str, tuple[UID, dict[str, Any]]] = {
    "spacing": (NuclearMedicineImageStorage, {"SpacingBetweenSlices": 2.0}),
    "vector": (
        NuclearMedicineImageStorage,
        {
            "SpacingBetweenSlices": 2.0,
            "SliceVector": [*range(1, 13)],
            "FrameIncrementPointer": 0x00540080,
        },
    ),
    "offsets": (RTDoseStorage, {"GridFrameOffsetVector": [2.0 * each for each in range(12)]}),
    "coordinates": (
        RTDoseStorage,
        {"GridFrameOffsetVector": [2.0 * each - 11.0 for each in range(12)]},
    ),
}


@pytest.mark.parametrize("how", sorted(STATED))
def test_frames_without_groups_are_slices_where_the_file_says_how_they_lie(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], how: str
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    kind, tags = STATED[how]
    expected, place, _readings = read(series)
    found, found_place, readings = read(many_of(series, tmp_path / "many", kind, **tags))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(found_place.grid.spl_affine, place.grid.spl_affine, atol=1e-6)
    assert readings == ()


def test_the_doses_of_a_grid_are_scaled(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    expected = read(series)[0]
    kind, tags = STATED["offsets"]
    path = many_of(series, tmp_path / "dose", kind, DoseGridScaling=0.0037, **tags)
    np.testing.assert_allclose(read(path)[0], expected * 0.0037, rtol=1e-5)


def test_a_cine_is_a_sequence_in_time_of_which_one_frame_is_read(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    expected = read(series)[0]
    path = many_of(series, tmp_path / "cine", UltrasoundMultiFrameImageStorage, FrameTime=33.3)
    first, _stack, readings = read(path)
    assert readings[0].startswith("It holds 12 frames over time, which are no slices of a volume")
    np.testing.assert_array_equal(first, expected[:1])
    np.testing.assert_array_equal(read(path, "frame 8 of instance 1")[0], expected[7:8])
    np.testing.assert_array_equal(read(path, "11")[0], expected[11:])


@pytest.mark.parametrize(
    ("changed", "reading"),
    [
        ({"PixelSpacing": [1.6, 1.6]}, "3 of its pictures have another PixelSpacing"),
        ({"ImagePositionPatient": None}, "3 of its slices lie sideways of the others"),
    ],
)
def test_slices_that_no_affine_holds_with_the_others_are_left_out(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    changed: dict[str, Any],
    reading: str,
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    for path in series.iterdir():
        made = dcmread(path)
        if made.InstanceNumber > 9:
            x, y, z = map(float, made.ImagePositionPatient)
            for name, value in changed.items():
                setattr(made, name, value or [x + 71.3, y, z])
        made.save_as(path)
    voxels, place, readings = read(series)
    assert len(voxels) == 9
    assert any(each.startswith(reading) for each in readings)
    np.testing.assert_allclose(place.spacing_mm, (2.0, 0.8, 0.8))


def test_every_second_slice_lost_is_told(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(
        tmp_path / "series", head, skip=tuple(range(1, 12, 2)), SpacingBetweenSlices=2.0
    )
    readings = read(series)[2]
    assert any("lie 4 mm apart, though SpacingBetweenSlices says 2 mm" in each for each in readings)


def test_pixels_without_a_size_are_refused_or_assumed(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    with pytest.raises(RefusedSourceError, match="PixelSpacing is 0 x 0 mm"):
        open_source(write_volume.dicom(tmp_path / "zero", head, PixelSpacing=[0, 0]))
    series = write_volume.dicom(tmp_path / "none", head)
    for path in series.iterdir():
        made = dcmread(path)
        del made.PixelSpacing
        made.save_as(path)
    assert any("no PixelSpacing" in each for each in read(series)[2])


def names_of(frames: Several[Frame]) -> list[str]:
    return [stack.name for stack in volumes_of(frames, 2.3).stacks]


def test_what_differs_from_slice_to_slice_names_no_volume() -> None:
    frames: list[Frame] = []
    for number in range(12):
        position = (0.0, 0.0, 3.1 * (number // 2))
        traits = (("trigger time", 13.7 * number), ("acquisition", float(number)))
        frames.append(
            Frame(Path("x"), 0, 4, 5, 1, position, AXIAL, (0.7, 0.9), 1, 0, traits, float(number))
        )
    assert names_of(frames) == ["repetition 1", "repetition 2"]
    first = volumes_of(frames[::-1], 3.1).stacks[0]
    assert [frame.instance for frame in first.frames if frame] == [0, 2, 4, 6, 8, 10]


def test_copies_of_files_are_no_volume_of_their_own(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    expected = read(series)[0]
    for path in [*series.iterdir()]:
        shutil.copy(path, path.with_stem(f"{path.stem} (1)"))
    voxels, _stack, readings = read(series)
    np.testing.assert_array_equal(voxels, expected)
    assert readings == ("12 of its slices are copies of others' files and are left out.",)


@pytest.mark.parametrize(
    ("keyword", "values", "names"),
    [
        ("FrameReferenceTime", (1370.0, 31900.0), ("frame reference time 1370", "31900")),
        ("EchoNumbers", (1, 2), ("echo number 1", "echo number 2")),
        ("KVP", (80.0, 140.0), ("tube voltage 80", "tube voltage 140")),
        ("ConvolutionKernel", ("B30f", ["B70f", "3"]), ("kernel B30f", r"kernel B70f\3")),
        ("SequenceName", ("*fl3d1", "*fl3d2"), ("sequence 1", "sequence 2")),
        ("FrameOfReferenceUID", ("1.2.7.1", "1.2.7.2"), ("frame of reference 1", "reference 2")),
        ("AcquisitionTime", ("101112.5", "101347.25"), ("acquisition time 1", "time 2")),
        ("ContentTime", ("101112.5", "101347.25"), ("content time 1", "content time 2")),
        ("SeriesTime", ("101112.5", "101347.25"), ("series time 1", "series time 2")),
        ("StudyDate", ("20260101", "20260102"), ("study time 1", "study time 2")),
        ("StudyInstanceUID", ("1.2.7.1", "1.2.7.2"), ("study 1", "study 2")),
        ("AcquisitionDateTime", ("20260101101112", "20260101101347"), ("moment of", "tion 2")),
        ("RepetitionTime", (530.0, 2110.0), ("TR 530", "TR 2110")),
        ("NumberOfAverages", (1, 4), ("averages 1", "averages 4")),
        ("ContrastBolusAgent", ("", "Gd"), ("no contrast agent", "contrast agent 2")),
        ("ReceiveCoilName", ("HEA", "HEP"), ("coil 1", "coil 2")),
        ("SliceThickness", (2.5, 4.5), ("slice thickness 2.5", "slice thickness 4.5")),
    ],
)
def test_volumes_are_told_apart_by_whatever_differs_among_frames_of_one_place(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    keyword: str,
    values: tuple[Any, Any],
    names: tuple[str, str],
) -> None:
    # Instances that follow neither volume, so that by them slices of both would be mixed.
    numbers = tuple(5 - 4 * (place % 2) for place in range(12))
    first = write_volume.dicom(tmp_path / "a", head, numbers=numbers, **{keyword: values[0]})
    second = write_volume.dicom(
        tmp_path / "b", head + 41, numbers=(3,) * 12, **{keyword: values[1]}
    )
    expected = read(first)[0]
    merged(first, second)
    found, _stack, readings = read(first, "0")
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(read(first, "1")[0], expected + 41)
    assert names[0] in readings[0]
    assert names[1] in read(first)[2][0]


def test_that_nothing_tells_frames_of_one_place_apart_is_said(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    first = write_volume.dicom(tmp_path / "a", head)
    merged(first, write_volume.dicom(tmp_path / "b", head + 41))
    assert any("taken by their instance numbers" in each for each in read(first)[2])


def test_a_slice_far_off_is_left_out_and_no_volume_is_filled_up_to_it(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    made = dcmread(series / "IM0000.dcm")
    x, y, z = map(float, made.ImagePositionPatient)
    made.ImagePositionPatient = [x, y, z + 9.7e8]
    made.save_as(series / "IM0000.dcm")
    voxels, _stack, readings = read(series)
    assert len(voxels) == 11
    assert "1 of its slices lies far off the others and is left out." in readings


def test_slices_beside_their_line_are_told(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    for path in series.iterdir():
        made = dcmread(path)
        x, y, z = map(float, made.ImagePositionPatient)
        if made.InstanceNumber > 6:
            made.ImagePositionPatient = [x + 0.71, y, z]
            made.save_as(path)
    # 0.71 mm over eleven steps: the slices about the jump lie 5/11 and 6/11 of it beside.
    assert any("up to 0.323 mm beside" in each for each in read(series)[2])


def test_echoes_a_hair_apart_are_of_one_place(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    series = write_volume.dicom(tmp_path / "a", head, EchoTime=11.3)
    other = write_volume.dicom(tmp_path / "b", head + 41, EchoTime=78.9)
    expected = read(series)[0]
    for path in other.iterdir():
        made = dcmread(path)
        x, y, z = map(float, made.ImagePositionPatient)
        made.ImagePositionPatient = [x, y, z + 0.011]
        made.save_as(path)
    merged(series, other)
    np.testing.assert_array_equal(read(series)[0], expected)
    np.testing.assert_array_equal(read(series, "echo 2, 78.9 ms")[0], expected + 41)


def test_frames_that_nothing_names_go_by_their_times_before_their_numbers(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    numbers = tuple(5 - 4 * (place % 2) for place in range(12))
    first = write_volume.dicom(tmp_path / "a", head, numbers=numbers)
    second = write_volume.dicom(tmp_path / "b", head + 41, numbers=(3,) * 12)
    for series, minute in ((first, 11), (second, 17)):
        for place, path in enumerate(sorted(series.iterdir())):
            made = dcmread(path)
            made.AcquisitionTime = f"10{minute}{place * 3:02d}.25"
            made.save_as(path)
    voxels, _stack, readings = read(merged(first, second), "0")
    np.testing.assert_array_equal(voxels, read_of(write_volume, tmp_path / "c", head))
    assert any("taken by the times that they state" in each for each in readings)


def read_of(write_volume: Any, folder: Path, voxels: NDArray[np.int16]) -> NDArray[np.float32]:
    return read(write_volume.dicom(folder, voxels))[0]


@pytest.mark.parametrize(
    ("tag", "value", "said"),
    [
        ("RescaleType", "US", "rescale type"),
        ("Units", "CNTS", "unit"),
        ("RescaleSlope", 2, "rescaling"),
    ],
)
def test_a_slice_of_another_scale_than_the_others_is_told(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], tag: str, value: Any, said: str
) -> None:
    series = write_volume.dicom(tmp_path / "series", head)
    made = dcmread(series / "IM0003.dcm")
    setattr(made, tag, value)
    made.save_as(series / "IM0003.dcm")
    assert f"Its slices differ in {said} (2 values)" in " ".join(read(series)[2])
