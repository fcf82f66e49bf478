"""What volumes' headers leave open about place, size and samples is said, or refused by name."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING, Any

import nibabel
import nrrd
import numpy as np
import pytest

from slidecam.errors import (
    RefusedSourceError,
    SourceError,
    UnreadableSourceError,
)
from slidecam.sources import open_source
from slidecam.sources.volume import VolumeSource
from slidecam.viewing import VolumeView

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SHAPE = (6, 5, 4)
AFFINE = np.array([[0.83, 0, 0, -37], [0, 1.37, 0, 21], [0, 0, 3.1, 14], [0, 0, 0, 1.0]])
VOX_OFFSET = slice(108, 112)


def voxels(*more: int, seed: int = 8) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(0, 900, (*more, *SHAPE)).astype(np.int16)


def opened(path: Path, **view: Any) -> VolumeSource:
    source = open_source(path, view=VolumeView(**view))
    assert isinstance(source, VolumeSource)
    return source


def samples_of(source: VolumeSource) -> NDArray[Any]:
    """Return a volume's samples in the file's own order."""
    return np.asarray(source.stack.grid.from_spl(np.asarray(source.array())))


def refusal_of(path: Path) -> str:
    with pytest.raises(RefusedSourceError) as caught:
        open_source(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "first"), [(nibabel.Nifti1Image, 352), (nibabel.Nifti2Image, 544)]
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_samples_that_are_said_to_begin_within_the_header_begin_behind_it(
    tmp_path: Path, kind: Any, first: int, suffix: str
) -> None:
    kind(voxels(), AFFINE).to_filename(tmp_path / "whole.nii")
    content = bytearray((tmp_path / "whole.nii").read_bytes())
    where = VOX_OFFSET if first == 352 else slice(168, 176)
    content[where] = bytes(where.stop - where.start)
    path = tmp_path / f"zero{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith("gz") else content)
    with opened(path) as source:
        np.testing.assert_array_equal(samples_of(source), voxels())
        (said,) = source.facts.readings
    assert f"read from byte {first}" in said


@pytest.mark.parametrize("intent", [3001, 3006, 3012])
def test_cifti_is_refused_by_its_intent(tmp_path: Path, intent: int) -> None:
    image = nibabel.Nifti2Image(np.zeros((1, 1, 1, 1, 5, 6), np.float32), np.eye(4))
    image.header["intent_code"] = intent
    image.to_filename(tmp_path / "a.dconn.nii")
    assert f"CIFTI file (intent {intent})" in refusal_of(tmp_path / "a.dconn.nii")


def test_the_samples_of_a_pair_lead_to_its_header(tmp_path: Path) -> None:
    nibabel.Nifti1Pair(voxels(), AFFINE).to_filename(tmp_path / "a.hdr")
    assert f"Pass {tmp_path / 'a.hdr'}" in refusal_of(tmp_path / "a.img")
    with opened(tmp_path / "a.hdr") as source:
        np.testing.assert_array_equal(samples_of(source), voxels())
    (tmp_path / "a.img").rename(tmp_path / "b.img")
    assert "samples are missing beside it: a.img" in refusal_of(tmp_path / "a.hdr")
    assert "no header b.hdr" in refusal_of(tmp_path / "b.img")


@pytest.mark.parametrize("order", ["<", ">"])
def test_analyze_is_named_whichever_half_is_passed(tmp_path: Path, order: Any) -> None:
    header = nibabel.AnalyzeHeader(endianness=order)
    header.set_data_dtype(np.int16)
    image = nibabel.AnalyzeImage(voxels(), None, header)
    image.to_filename(tmp_path / "a.hdr")
    for half in ("a.hdr", "a.img"):
        assert "ANALYZE 7.5" in refusal_of(tmp_path / half)


def test_an_mgh_without_an_orientation_says_that_its_sides_are_a_guess(tmp_path: Path) -> None:
    nibabel.MGHImage(voxels(), AFFINE.astype(np.float32)).to_filename(tmp_path / "good.mgz")
    content = bytearray(gzip.decompress((tmp_path / "good.mgz").read_bytes()))
    content[28:30] = b"\0\0"
    (tmp_path / "bad.mgz").write_bytes(gzip.compress(content))
    with opened(tmp_path / "good.mgz") as source:
        assert source.facts.readings == ()
    with opened(tmp_path / "bad.mgz") as source:
        (said,) = source.facts.readings
    assert "goodRASFlag 0" in said
    assert "left and right are a guess" in said


def write_nrrd(path: Path, values: NDArray[Any], **fields: Any) -> Path:
    header = {name.replace("_", " "): value for name, value in fields.items()}
    nrrd.write(str(path), values, {"encoding": "gzip"} | header)
    return path


DIRECTIONS = np.diag([0.83, 1.37, 3.1])
SIDES_MM = (0.83, 1.37, 3.1)


@pytest.mark.parametrize(
    "space", ["3D-right-handed", "3D-left-handed", "scanner-xyz", "right-up", None]
)
def test_an_nrrd_of_any_space_keeps_its_spacing(tmp_path: Path, space: str | None) -> None:
    said = {"space dimension": 3} if space is None else {"space": space}
    where = {"space_directions": DIRECTIONS, "space_origin": np.array([1.5, 2.5, 3.5])}
    path = write_nrrd(tmp_path / "a.nrrd", voxels(), **said, **where)
    with opened(path) as source:
        assert tuple(reversed(source.stack.grid.scale)) == pytest.approx(SIDES_MM)
        (reading,) = source.facts.readings
    assert "left and right are a guess" in reading
    assert (space or "The file does not say").lower() in reading.lower()


@pytest.mark.parametrize("space", ["left-posterior-superior-time", "LPST", "RAST", "RAS"])
def test_a_space_with_time_is_the_space(tmp_path: Path, space: str) -> None:
    values = np.moveaxis(voxels(3), 0, -1)
    timed = np.zeros((4, 4))
    timed[:3, :3], timed[3, 3] = DIRECTIONS, 2.3
    fields: dict[str, Any] = {"space_directions": timed, "space_origin": np.array([1.5, 2.5, 3, 0])}
    if space == "RAS":
        fields = {
            "space_directions": np.vstack([DIRECTIONS, [np.nan] * 3]),
            "space_origin": np.array([1.5, 2.5, 3]),
        }
    kinds = ["domain", "domain", "domain", "time"]
    path = write_nrrd(tmp_path / "a.nrrd", values, space=space, kinds=kinds, **fields)
    signs = (1, 1, 1) if space.startswith("RAS") else (-1, -1, 1)
    with opened(path, volume="2") as source:
        expected = np.diag([*np.multiply(signs, SIDES_MM), 1])
        expected[:3, 3] = np.multiply(signs, (1.5, 2.5, 3))
        np.testing.assert_allclose(source.stack.grid.affine, expected)
        np.testing.assert_array_equal(samples_of(source), values[..., 2])
        assert source.facts.readings == ("It holds 3 volumes: volume 2 is read.",)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("kind", ["list", "vector"])
@pytest.mark.parametrize("place", ["before", "behind"])
def test_list_axes_lie_before_or_behind_space(
    tmp_path: Path, encoding: str, kind: str, place: str
) -> None:
    values, kinds = voxels(3), [kind, *["domain"] * 3]
    rows = np.vstack([[np.nan] * 3, DIRECTIONS])
    if place == "behind":
        values, kinds, rows = np.moveaxis(values, 0, -1), kinds[::-1], np.roll(rows, -1, 0)
    where = {"space": "RAS", "space_directions": rows, "space_origin": np.zeros(3)}
    path = write_nrrd(tmp_path / "a.nrrd", values, encoding=encoding, kinds=kinds, **where)
    for number in range(3):
        with opened(path, volume=str(number)) as source:
            np.testing.assert_array_equal(samples_of(source), voxels(3)[number])
            assert tuple(reversed(source.stack.grid.scale)) == pytest.approx(SIDES_MM)


def test_an_axis_without_a_spacing_is_no_space(tmp_path: Path) -> None:
    steps = np.array([np.nan, *SIDES_MM])
    path = write_nrrd(tmp_path / "a.nrrd", voxels(3), spacings=steps)
    with opened(path, volume="1") as source:
        np.testing.assert_array_equal(samples_of(source), voxels(3)[1])
        assert tuple(reversed(source.stack.grid.scale)) == pytest.approx(SIDES_MM)


@pytest.mark.parametrize("unit", ["um", "mm"])
def test_an_nrrd_in_other_units_is_noted(tmp_path: Path, unit: str) -> None:
    where = {"space": "RAS", "space_directions": DIRECTIONS, "space_origin": np.zeros(3)}
    path = write_nrrd(tmp_path / "a.nrrd", voxels(), space_units=[unit] * 3, **where)
    with opened(path) as source:
        noted = any("states microns" in said for said in source.facts.readings)
    assert noted == (unit == "um")


def test_kinds_that_nobody_knows_are_space(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "a.nrrd", voxels(), kinds=["???"] * 3, spacings=SIDES_MM)
    with opened(path) as source:
        assert tuple(reversed(source.stack.grid.scale)) == pytest.approx(SIDES_MM)


def test_a_list_within_space_is_refused(tmp_path: Path) -> None:
    kinds = ["domain", "list", "domain", "domain"]
    values = np.moveaxis(voxels(3), 0, 1)
    path = write_nrrd(tmp_path / "a.nrrd", values, kinds=kinds, spacings=np.ones(4))
    assert "three axes of space that follow each other" in refusal_of(path)


def test_directions_that_lie_in_one_plane_are_refused(tmp_path: Path) -> None:
    flat = np.array([[0.83, 0, 0], [0, 1.37, 0], [0.83, 1.37, 0]])
    where = {"space": "RAS", "space_directions": flat, "space_origin": np.zeros(3)}
    path = write_nrrd(tmp_path / "a.nrrd", voxels(), **where)
    assert "affine is singular" in refusal_of(path)


def test_a_spacing_and_an_origin_that_are_not_there_are_said(tmp_path: Path) -> None:
    path = write_nrrd(tmp_path / "a.nrrd", voxels(), spacings=np.array([0.83, np.nan, 3.1]))
    with opened(path) as source:
        assert tuple(reversed(source.stack.grid.scale)) == pytest.approx((0.83, 1, 3.1))
        assert any("large voxels are along j: 1 mm" in said for said in source.facts.readings)
    path = write_nrrd(tmp_path / "b.nrrd", voxels(), space="RAS", space_directions=DIRECTIONS)
    with opened(path) as source:
        (said,) = source.facts.readings
    assert "no origin" in said


def test_dicom_directions_that_are_one_are_refused(tmp_path: Path, write_volume: Any) -> None:
    same = [1, 0, 0, 1, 0, 0]
    write_volume.dicom(tmp_path / "flat", voxels(), ImageOrientationPatient=same)
    assert "affine is singular" in refusal_of(tmp_path / "flat")


def detached(folder: Path, **more: str) -> Path:
    (folder / "a.raw").write_bytes(voxels().T.tobytes())
    lines = {
        "type": "int16",
        "dimension": "3",
        "sizes": " ".join(map(str, SHAPE)),
        "endian": "little",
        "encoding": "raw",
        "data file": "a.raw",
    }
    text = "".join(f"{name}: {value}\n" for name, value in (lines | more).items())
    (folder / "a.nhdr").write_text(f"NRRD0004\n{text}\n")
    return folder / "a.nhdr"


def test_samples_in_another_file_are_read(tmp_path: Path) -> None:
    with opened(detached(tmp_path)) as source:
        np.testing.assert_array_equal(samples_of(source), voxels())


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"encoding": "hex"}, "encoded as hex"),
        ({"byte skip": "-5"}, "skip -5 bytes"),
        ({"line skip": "-1"}, "-1 lines"),
        ({"data file": "b.raw"}, "missing: it names b.raw"),
        ({"data file": "a%02d.raw 1 4 1"}, "several files"),
        ({"data file": "LIST"}, "several files"),
    ],
)
def test_what_pynrrd_does_not_read_is_refused_in_words(
    tmp_path: Path, more: dict[str, str], words: str
) -> None:
    assert words in refusal_of(detached(tmp_path, **more))


@pytest.mark.parametrize(
    "more", [{"type": "block"}, {"endian": "middle"}, {"sizes": "6 5"}, {"space directions": "1,0"}]
)
def test_a_header_that_makes_no_sense_is_an_error_of_that_file(
    tmp_path: Path, more: dict[str, str]
) -> None:
    with pytest.raises(SourceError):
        open_source(detached(tmp_path, **more))


def test_samples_that_end_early_fail_as_what_was_read(tmp_path: Path) -> None:
    path = detached(tmp_path)
    (tmp_path / "a.raw").write_bytes(struct.pack("<5h", *range(5)))
    with pytest.raises(UnreadableSourceError, match="ends before its last slice"):
        open_source(path)


def nifti_saying(path: Path, place: int, *values: float, codes: int = 2) -> Path:
    """Write a NIfTI whose header says other numbers at one place."""
    image = nibabel.Nifti1Image(voxels(), AFFINE)
    image.set_sform(AFFINE, codes)
    image.set_qform(AFFINE, codes)
    image.to_filename(path)
    content = bytearray(path.read_bytes())
    struct.pack_into(f"<{len(values)}f", content, place, *values)
    path.write_bytes(content)
    return path


PIXDIM, SLOPE = 80, 112


@pytest.mark.parametrize(
    ("place", "values", "codes", "words"),
    [
        (PIXDIM, (1.66, 1.37, 3.1), 2, "pixdim says that voxels are 1.66 x 1.37 x 3.1 mm"),
        (PIXDIM, (0, 1.37, 0), 0, "how large voxels are along i and k: 1 mm"),
        (SLOPE, (0, 41), 2, "scales samples by 0 and adds 41, which has no meaning"),
        (SLOPE, (np.inf, 0), 2, "scales samples by inf and adds 0, which has no meaning"),
        (SLOPE, (0, 0), 2, ""),
        (SLOPE, (np.nan, np.nan), 2, ""),
        (PIXDIM, (0, 0, 0), 2, "sform place it up to 6.53 mm apart"),
    ],
)
def test_what_a_nifti_says_and_is_not_taken_is_said(
    tmp_path: Path, place: int, values: tuple[float, ...], codes: int, words: str
) -> None:
    path = nifti_saying(tmp_path / "a.nii", place, *values, codes=codes)
    with opened(path) as source:
        np.testing.assert_array_equal(samples_of(source), voxels())
        readings = [each for each in source.facts.readings if "Neither matrix" not in each]
    assert bool(readings) == bool(words)
    assert not words or any(words in each for each in readings)


def test_which_axes_are_space_is_said_where_a_header_does_not_say(tmp_path: Path) -> None:
    samples = np.moveaxis(voxels(3), 0, -1)
    path = write_nrrd(tmp_path / "a.nrrd", samples)
    with opened(path, volume="2") as source:
        np.testing.assert_array_equal(samples_of(source), samples[..., 2])
        assert source.facts.spacing_from == "nothing"
        readings = source.facts.readings
    assert any("which of its 4 axes are space: the first three" in each for each in readings)
    with opened(write_nrrd(tmp_path / "b.nrrd", voxels(), spacings=SIDES_MM)) as source:
        assert source.facts.spacing_from == "spacings"


ENDS_MM = ([-3.1, 7.4, 11.9], [5.3, 14.9, 23.9])


@pytest.mark.parametrize(
    ("centring", "words"),
    [("node", "from the one to the other"), ("cell", "from the one to"), ("???", "ends of cells")],
)
def test_ends_of_an_nrrds_axes_say_how_large_its_voxels_are(
    tmp_path: Path, centring: str, words: str
) -> None:
    first, last = np.array(ENDS_MM)
    ends: dict[str, Any] = {"axis mins": ENDS_MM[0], "axis maxs": ENDS_MM[1]}
    if centring != "???":
        ends["centerings"] = [centring] * 3
    path = write_nrrd(tmp_path / "a.nrrd", voxels(), **ends)
    steps, starts = (last - first) / SHAPE, first + (last - first) / SHAPE / 2
    if centring == "node":
        steps, starts = (last - first) / (np.array(SHAPE) - 1), first
    with opened(path) as source:
        grid = source.stack.grid
        np.testing.assert_allclose(np.abs(np.diag(grid.affine)[:3]), steps, rtol=1e-6)
        np.testing.assert_allclose(np.abs(grid.affine[:3, 3]), np.abs(starts), rtol=1e-6)
        assert sum(words in reading for reading in source.facts.readings) == 1
        assert source.facts.spacing_from == "axis mins and axis maxs"


def test_ends_of_centres_and_of_cells_may_stand_in_one_nrrd_and_half_of_them_are_not_heeded(
    tmp_path: Path,
) -> None:
    first, last = np.array(ENDS_MM)
    ends: dict[str, Any] = {"axis mins": ENDS_MM[0], "axis maxs": ENDS_MM[1]}
    mixed = ends | {"centerings": ["node", "cell", "cell"]}
    with opened(write_nrrd(tmp_path / "a.nrrd", voxels(), **mixed)) as source:
        steps = np.abs(np.diag(source.stack.grid.affine)[:3])
    expected = (last - first) / (SHAPE[0] - 1, SHAPE[1], SHAPE[2])
    np.testing.assert_allclose(steps, expected, rtol=1e-6)
    half = {"axis mins": ENDS_MM[0]}
    with opened(write_nrrd(tmp_path / "b.nrrd", voxels(), **half)) as source:
        assert source.stack.spacing_mm == (1.0, 1.0, 1.0)
        assert source.facts.spacing_from == "nothing"
        assert any("axis maxs are not heeded" in said for said in source.facts.readings)


def test_thicknesses_of_an_nrrd_stand_in_for_spacings_and_ends_beside_those_are_said(
    tmp_path: Path,
) -> None:
    thick = {"spacings": [0.83, 1.37, np.nan], "thicknesses": [np.nan, np.nan, 4.7]}
    with opened(write_nrrd(tmp_path / "a.nrrd", voxels(), **thick)) as source:
        np.testing.assert_allclose(source.stack.spacing_mm, (4.7, 1.37, 0.83))
        assert any("how thick voxels are along k" in said for said in source.facts.readings)
    beside = {"spacings": [0.83, 1.37, 3.1], "axis mins": ENDS_MM[0], "axis maxs": ENDS_MM[1]}
    with opened(write_nrrd(tmp_path / "b.nrrd", voxels(), **beside)) as source:
        np.testing.assert_allclose(source.stack.spacing_mm, (3.1, 1.37, 0.83))
        assert any("axis maxs are not heeded" in said for said in source.facts.readings)


def test_oblique_and_leaning_axes_are_said_by_every_reader(tmp_path: Path) -> None:
    turned = np.array([[0.8, -0.6, 0.2], [0.6, 0.8, 0.3], [0, 0, 2.9]])
    affine = np.eye(4)
    affine[:3, :3] = turned
    nibabel.Nifti1Image(voxels(), affine).to_filename(tmp_path / "a.nii")
    place = {"space": "right-anterior-superior", "space origin": [0.0, 0.0, 0.0]}
    write_nrrd(tmp_path / "b.nrrd", voxels(), **place, **{"space directions": turned.T})
    for name in ("a.nii", "b.nrrd"):
        with opened(tmp_path / name) as source:
            said = source.facts.readings
        tilt = np.degrees(np.arctan2(np.hypot(0.2, 0.3), 2.9))
        assert any(each.startswith(f"Gantry tilt of {tilt:.1f} degrees") for each in said), name
        assert any("slices are oblique" in each for each in said), name


def test_slices_that_a_header_does_not_count_are_told(tmp_path: Path) -> None:
    whole = voxels()
    nifti, mgh, attached = tmp_path / "a.nii", tmp_path / "a.mgh", tmp_path / "a.nrrd"
    nibabel.save(nibabel.Nifti1Image(whole, AFFINE), nifti)
    nibabel.save(nibabel.MGHImage(whole, AFFINE.astype(np.float32)), mgh)
    nrrd.write(str(attached), whole, {"encoding": "raw", "space": "RAS", "kinds": ["domain"] * 3})
    packed = tmp_path / "b.nii.gz"
    content = bytearray(nifti.read_bytes())
    struct.pack_into("<h", content, 46, 2)  # of 4 slices
    nifti.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    content = bytearray(mgh.read_bytes())
    struct.pack_into(">i", content, 12, 2)
    mgh.write_bytes(content)
    text = attached.read_bytes()
    assert b"sizes: 6 5 4" in text
    attached.write_bytes(text.replace(b"sizes: 6 5 4", b"sizes: 6 5 2"))
    said = "Its file goes on behind the slices that its header counts, for as much as 2 more"
    for path in (nifti, packed, mgh, attached):
        with opened(path) as source:
            assert source.facts.planes == 2
            assert said in " ".join(source.facts.readings)
            # Stored are four slices: two in the volume, two that are said.
            assert sorted(samples_of(source).ravel()) == sorted(whole[..., :2].ravel())


@pytest.mark.parametrize("edge", [3.1e7, 4e-8, 1.7e20])
def test_voxels_of_a_size_that_nothing_scans_are_refused(tmp_path: Path, edge: float) -> None:
    nibabel.save(nibabel.Nifti1Image(voxels(), np.diag([edge, edge, 3.1, 1.0])), tmp_path / "a.nii")
    with pytest.raises(RefusedSourceError, match="which nothing scans"):
        open_source(tmp_path / "a.nii")


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.MGHImage])
def test_values_of_a_surface_are_no_volume(tmp_path: Path, kind: Any) -> None:
    values = np.zeros((10_242, 1, 1), np.float32)
    path = tmp_path / {nibabel.MGHImage: "lh.thickness.mgz"}.get(kind, "lh.thickness.nii")
    nibabel.save(kind(values, np.eye(4, dtype=np.float32)), path)
    with pytest.raises(RefusedSourceError, match="one row of 10242 voxels"):
        open_source(path)
