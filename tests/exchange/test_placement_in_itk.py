"""A volume and what is written on its voxels lie at the same place in ITK's viewers too.

SimpleITK is the oracle; it reads no MGH, whose header's own numbers are taken, and of a DICOM
series it reads each file alone, as it knows no gantry that was tilted.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK

from slidecam.exchange.volumes import words_on_itk, write_nifti
from slidecam.sources import open_source
from slidecam.sources.volume import VolumeSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Affine = NDArray[np.float64]

SHAPE = (11, 7, 5)
NEAR = 0.01
"""Millimetres."""


@pytest.fixture(autouse=True, scope="module")
def _silent() -> None:
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(flag=False)


def voxels() -> NDArray[np.int16]:
    return np.random.default_rng(4).integers(0, 900, SHAPE).astype(np.int16)


def ends(shape: tuple[int, ...] = SHAPE) -> NDArray[np.float64]:
    """Return the indices of the eight corners, (8, 3)."""
    return np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape[:3]) - 1.0)


def corners_in_itk(path: Path) -> NDArray[np.float64]:
    """Return where ITK puts the corners, RAS mm, (8, 3)."""
    image = SimpleITK.ReadImage(str(path))
    assert image.GetSize() == SHAPE
    places = [image.TransformContinuousIndexToPhysicalPoint(end.tolist()) for end in ends()]
    return np.array(places) * (-1, -1, 1)


def corners_by(affine: Affine) -> NDArray[np.float64]:
    return np.asarray(ends() @ affine[:3, :3].T + affine[:3, 3])


def stored(path: Path) -> Any:
    return nibabel.load(path)


def heat_of(path: Path, kind: str = "float32") -> tuple[Path, tuple[str, ...]]:
    """Write heat on a volume's voxels; return where, and what is said of the volume."""
    with open_source(path) as source:
        assert isinstance(source, VolumeSource)
        grid = source.stack.grid
        heat = path.parent / "heat.nii.gz"
        write_nifti(heat, iter([np.ones(grid.shape)]), grid, kind, "heat")
        return heat, source.facts.readings


def turned(degrees: tuple[float, float, float], steps: tuple[float, float, float]) -> Affine:
    """Return an affine that turns about each axis in turn, and has its first voxel off the middle.

    A negative step reverses an axis.
    """
    affine = np.eye(4)
    for axis, angle in enumerate(np.radians(degrees)):
        one, other = [place for place in range(3) if place != axis]
        turn = np.eye(3)
        turn[[one, other], [one, other]] = np.cos(angle)
        turn[one, other], turn[other, one] = -np.sin(angle), np.sin(angle)
        affine[:3, :3] = affine[:3, :3] @ turn
    affine[:3, :3] = affine[:3, :3] * steps
    affine[:3, 3] = (-37.3, 21.9, 14.7)
    return affine


STRAIGHT = turned((0, 0, 0), (0.83, 1.37, 3.1))
OBLIQUE = turned((11.3, -24.1, 7.7), (0.83, 1.37, 3.1))
LEFT_HANDED = turned((11.3, -24.1, 7.7), (-0.83, 1.37, 3.1))
SHEARED = OBLIQUE @ np.array([[1, 0, 0.31, 0], [0, 1, 0.87, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
ELSEWHERE = turned((-9.1, 3.3, 17.9), (0.83, 1.37, 3.1))
MNI, SCANNER, ALIGNED = 4, 1, 2


def nifti(
    path: Path, q: tuple[Affine, int], s: tuple[Affine, int], kind: Any = nibabel.Nifti1Image
) -> Path:
    made = kind(voxels(), s[0]).header
    made.set_qform(q[0], q[1], strip_shears=True)
    made.set_sform(s[0], s[1])
    image = kind(voxels(), None, made)
    image.to_filename(path)
    return path


STORED: dict[str, tuple[tuple[Affine, int], tuple[Affine, int]]] = {
    "by its sform": ((OBLIQUE, 0), (OBLIQUE, ALIGNED)),
    "straight": ((STRAIGHT, SCANNER), (STRAIGHT, SCANNER)),
    "MNI": ((OBLIQUE, SCANNER), (ELSEWHERE, MNI)),
    "by its qform": ((LEFT_HANDED, SCANNER), (LEFT_HANDED, 0)),
    "left-handed": ((LEFT_HANDED, SCANNER), (LEFT_HANDED, SCANNER)),
    "no codes": ((OBLIQUE, 0), (OBLIQUE, 0)),
    "sides disagree": ((OBLIQUE, SCANNER), (LEFT_HANDED, ALIGNED)),
    "a shear that the qform loses": ((SHEARED, SCANNER), (SHEARED, SCANNER)),
}


@pytest.mark.parametrize("name", STORED)
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_heat_of_a_nifti_has_its_codes_its_matrices_and_its_place(
    tmp_path: Path, name: str, kind: str
) -> None:
    path = nifti(tmp_path / "volume.nii", *STORED[name])
    heat, _said = heat_of(path, kind)
    own, other = stored(path), stored(heat)
    codes = ("qform_code", "sform_code")
    assert [int(other.header[code]) for code in codes] == [code for _affine, code in STORED[name]]
    for field in ("srow_x", "srow_y", "srow_z", "quatern_c", "qoffset_x"):
        np.testing.assert_array_equal(other.header[field], own.header[field])
    np.testing.assert_array_equal(other.affine, own.affine)
    apart = corners_in_itk(heat) - corners_in_itk(path)
    assert np.linalg.norm(apart, axis=1).max() < NEAR


def test_heat_of_a_nifti_2_and_of_a_pair_lies_where_they_lie(tmp_path: Path) -> None:
    two = nifti(tmp_path / "two.nii", *STORED["MNI"], kind=nibabel.Nifti2Image)
    heat, _said = heat_of(two)
    same = nifti(tmp_path / "one.nii", *STORED["MNI"])  # ITK's NIfTI knows no NIfTI-2
    np.testing.assert_allclose(corners_in_itk(heat), corners_in_itk(same), atol=NEAR)
    pair = nifti(tmp_path / "pair.hdr", *STORED["no codes"], kind=nibabel.Nifti1Pair)
    heat, _said = heat_of(pair)
    np.testing.assert_allclose(corners_in_itk(heat), corners_in_itk(pair), atol=NEAR)


def test_heat_of_microns_is_in_microns(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(voxels(), turned((11.3, -24.1, 7.7), (830, 1370, 3100)))
    image.header.set_xyzt_units("micron", "sec")
    image.to_filename(tmp_path / "volume.nii")
    heat, said = heat_of(tmp_path / "volume.nii")
    np.testing.assert_allclose(
        corners_in_itk(heat), corners_in_itk(tmp_path / "volume.nii"), atol=NEAR
    )
    assert any("states microns" in reading for reading in said)


def test_a_shear_that_the_sform_alone_holds_is_written_as_it_is(tmp_path: Path) -> None:
    """ITK reads neither volume nor heat then, and says why; it does not put one elsewhere."""
    path = nifti(tmp_path / "volume.nii", (SHEARED, 0), (SHEARED, ALIGNED))
    heat, _said = heat_of(path)
    for file in (path, heat):
        with pytest.raises(RuntimeError, match="orthonormal"):
            SimpleITK.ReadImage(str(file))
    placed = stored(heat)
    assert (int(placed.header["qform_code"]), int(placed.header["sform_code"])) == (0, ALIGNED)
    np.testing.assert_allclose(corners_by(placed.affine), corners_by(SHEARED), atol=NEAR)


SPACES = {
    "left-posterior-superior": (-1, -1, 1),
    "RAS": (1, 1, 1),
    "LAS": (-1, 1, 1),
    "left-posterior-superior-time": (-1, -1, 1),
    "3D-right-handed": (-1, -1, 1),
    "scanner-xyz": (-1, -1, 1),
}
"""ITK takes spaces that say nothing of the patient for left, posterior, superior."""


def nrrd_of(path: Path, affine: Affine, space: str, signs: tuple[int, int, int]) -> Path:
    theirs = np.diag([*signs, 1]) @ affine
    directions, origin = theirs[:3, :3].T, theirs[:3, 3]
    values, kinds = voxels(), ["domain"] * 3
    header: dict[str, Any] = {"space": space, "space origin": origin}
    header["space directions"] = directions
    if space.endswith("-time"):
        values, kinds = values[..., None].repeat(2, 3), [*kinds, "time"]
        header["space directions"] = np.pad(directions, ((0, 1), (0, 1)))
        header["space directions"][3, 3] = 1.3
        header["space origin"] = np.append(origin, 0)
    nrrd.write(str(path), values, header | {"kinds": kinds, "encoding": "gzip"})
    return path


@pytest.mark.parametrize("space", [space for space in SPACES if not space.endswith("-time")])
@pytest.mark.parametrize("affine", [STRAIGHT, OBLIQUE, LEFT_HANDED])
def test_heat_of_an_nrrd_lies_where_it_lies(tmp_path: Path, space: str, affine: Affine) -> None:
    path = nrrd_of(tmp_path / "volume.nrrd", affine, space, SPACES[space])
    heat, _said = heat_of(path)
    np.testing.assert_allclose(corners_in_itk(path), corners_by(affine), atol=NEAR)
    np.testing.assert_allclose(corners_in_itk(heat), corners_by(affine), atol=NEAR)
    placed = stored(heat)
    assert int(placed.header["qform_code"]) == SCANNER


@pytest.mark.parametrize("space", SPACES)
def test_a_qform_that_cannot_hold_a_shear_has_no_code(tmp_path: Path, space: str) -> None:
    path = nrrd_of(tmp_path / "volume.nrrd", SHEARED, space, SPACES[space])
    heat, _said = heat_of(path)
    placed = stored(heat)
    assert (int(placed.header["qform_code"]), int(placed.header["sform_code"])) == (0, SCANNER)
    np.testing.assert_allclose(corners_by(placed.affine), corners_by(SHEARED), atol=NEAR)
    if not space.endswith("-time"):
        np.testing.assert_allclose(corners_in_itk(path), corners_by(SHEARED), atol=NEAR)


@pytest.mark.parametrize("affine", [STRAIGHT, OBLIQUE, LEFT_HANDED])
def test_heat_of_an_mgz_lies_where_its_header_puts_it(tmp_path: Path, affine: Affine) -> None:
    path = tmp_path / "volume.mgz"
    nibabel.save(nibabel.MGHImage(voxels(), affine), path)
    header = stored(path).header
    # FreeSurfer states the place of the voxel whose index is half the shape.
    steps = header["Mdc"].T.astype(float) * header["delta"]
    expected = (ends() - np.array(SHAPE) / 2) @ steps.T + header["Pxyz_c"]
    heat, _said = heat_of(path)
    np.testing.assert_allclose(corners_in_itk(heat), expected, atol=NEAR)


def leaning(offset: tuple[float, float, float]) -> Callable[[int], list[float]]:
    first = np.array([-21.3, 13.7, 8.9])
    return lambda number: (first + number * np.array(offset)).tolist()


SLICES = {
    "oblique": (0.0, -1.2312, 3.3828),
    "tilted gantry": (0.0, 0.4127, 4.2719),
    "sideways": (1.1319, -1.2312, 3.3828),
}
COSINES = [1.0, 0.0, 0.0, 0.0, 0.9396926, 0.3420201]


@pytest.mark.parametrize("name", SLICES)
def test_heat_of_a_dicom_series_lies_where_its_slices_lie(
    tmp_path: Path, write_volume: Any, name: str
) -> None:
    place = leaning(SLICES[name])
    files = []
    for number in range(SHAPE[2]):
        tags: dict[str, Any] = {"ImagePositionPatient": place(number)}
        tags["ImageOrientationPatient"] = COSINES
        tags |= {"InstanceNumber": number + 1, "SOPInstanceUID": f"1.2.826.77.{number + 1}"}
        folder = write_volume.dicom(tmp_path / f"{number}", voxels()[:, :, [number]], **tags)
        (file,) = folder.iterdir()
        files.append(file.rename(tmp_path / f"IM{number}"))
        folder.rmdir()
    heat, _said = heat_of(files[0])
    placed = stored(heat)
    assert placed.shape == SHAPE
    for number, file in enumerate(files):
        image = SimpleITK.ReadImage(str(file))
        for i, j in ((0, 0), (SHAPE[0] - 1, 0), (0, SHAPE[1] - 1)):
            expected = np.array(image.TransformIndexToPhysicalPoint((i, j, 0))) * (-1, -1, 1)
            found = (placed.affine @ (i, j, number, 1))[:3]
            np.testing.assert_allclose(found, expected, atol=NEAR)
    if name == "oblique":
        np.testing.assert_allclose(corners_in_itk(heat), corners_by(placed.affine), atol=NEAR)
        assert not any("tilt" in reading for reading in _said)
        return
    assert int(placed.header["qform_code"]) == 0
    step = np.array(SLICES[name]) / np.linalg.norm(SLICES[name])
    tilt = np.degrees(np.arccos(step @ np.cross(COSINES[:3], COSINES[3:])))
    (words,) = [reading for reading in _said if "tilt" in reading]
    assert words.startswith(f"Gantry tilt of {tilt:.1f} degrees: ")


@pytest.mark.parametrize("lean", [0.0, 0.00003, 0.002, 0.31])
@pytest.mark.parametrize("name", [None, *STORED])
def test_what_itk_cannot_open_is_said(tmp_path: Path, name: str | None, lean: float) -> None:
    path = tmp_path / "volume.nii"
    if name is None:
        shear = np.eye(4)
        shear[0, 2] = lean
        path = nrrd_of(tmp_path / "a.nrrd", OBLIQUE @ shear, "left-posterior-superior", (-1, -1, 1))
    elif lean:
        return
    else:
        nifti(path, *STORED[name])
    with open_source(path) as source:
        assert isinstance(source, VolumeSource)
        said = [*words_on_itk(source.stack.grid)]
    heat, _said = heat_of(path)
    try:
        SimpleITK.ReadImage(str(heat))
    except RuntimeError:
        assert len(said) == 1
    else:
        assert said == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no codes", r"qform and sform are 0.*left and right are a guess"),
        ("sides disagree", r"disagree on left and right.*a guess: the sform is taken"),
        ("MNI", r"place it up to [\d.]+ mm apart: the sform is taken"),
    ],
)
def test_what_is_assumed_of_two_matrices_is_said(tmp_path: Path, name: str, words: str) -> None:
    _heat, said = heat_of(nifti(tmp_path / "volume.nii", *STORED[name]))
    assert [bool(re.search(words, reading)) for reading in said].count(True) == 1


@pytest.mark.parametrize("name", ["straight", "by its sform", "by its qform", "left-handed"])
def test_nothing_is_said_of_matrices_that_agree(tmp_path: Path, name: str) -> None:
    _heat, said = heat_of(nifti(tmp_path / "volume.nii", *STORED[name]))
    assert [reading for reading in said if "form" in reading.split()] == []
