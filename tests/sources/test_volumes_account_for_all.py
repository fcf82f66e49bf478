"""What is stored is in one volume of its file, once and in its place, or is said to be left out.

Files are drawn: of every reader, of any number of axes, frames in any order.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import nibabel
import nrrd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from slidecam.errors import RefusedSourceError
from slidecam.sources import open_source
from slidecam.sources.volume import VolumeSource
from slidecam.viewing import VolumeView

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Affine = NDArray[np.float64]

LENGTHS = st.lists(st.integers(2, 4), min_size=3, max_size=5)
TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
Z_Y_X = np.eye(4)[[2, 1, 0, 3]]


@st.composite
def affines(draw: st.DrawFn) -> Affine:
    """Draw an affine to RAS+ mm: turned, sheared, mirrored, of voxels of unequal edges."""
    seed = draw(st.integers(0, 10_000))
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    shear = np.eye(3)
    shear[0, 2] = draw(st.floats(-0.3, 0.3))
    affine = np.eye(4)
    affine[:3, :3] = turn @ shear @ np.diag([0.83, 1.37, 2.9])
    affine[:3, 3] = draw(st.tuples(*[st.floats(-90, 90)] * 3))
    return affine


def stored(lengths: list[int], seed: int) -> NDArray[np.int16]:
    """Return samples of which no two are alike."""
    count = math.prod(lengths)
    return np.random.default_rng(seed).permutation(count).astype(np.int16).reshape(lengths)


def placed_samples(path: Path) -> dict[int, NDArray[np.float64]]:
    """Return where each sample lies, LPS mm, of all volumes of a file; each may be in one alone."""
    found: dict[int, NDArray[np.float64]] = {}
    number, count = 0, 1
    while number < count:
        with open_source(path, view=VolumeView(volume=str(number))) as source:
            assert isinstance(source, VolumeSource)
            said = re.search(r"It holds (\d+) ", " ".join(source.facts.readings))
            count = int(said[1]) if said else 1
            voxels = np.asarray(source.array()).astype(int)
            affine = Z_Y_X @ source.stack.grid.spl_affine
        for place in np.ndindex(*voxels.shape):
            sample = int(voxels[place])
            assert sample not in found
            found[sample] = (affine @ [*place, 1])[:3]
        number += 1
    with pytest.raises(RefusedSourceError, match="no volume"):
        open_source(path, view=VolumeView(volume=str(count)))
    return found


def hold(path: Path, samples: NDArray[np.int16], affine: Affine) -> None:
    """Hold a file of axes i, j, k, … to what was stored in it."""
    found = placed_samples(path)
    assert found.keys() == set(samples.ravel().tolist())
    for place in np.ndindex(*samples.shape):
        expected = (TO_LPS @ affine @ [*place[:3], 1])[:3]
        np.testing.assert_allclose(found[int(samples[place])], expected, atol=0.01)


@settings(max_examples=15)
@given(lengths=LENGTHS, affine=affines(), seed=st.integers(0, 99), packed=st.booleans())
def test_every_sample_of_a_nifti_is_in_one_volume_in_its_place(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    affine: Affine,
    seed: int,
    packed: bool,  # noqa: FBT001 - drawn
) -> None:
    samples = stored(lengths, seed)
    path = tmp_path_factory.mktemp("nifti") / ("a.nii.gz" if packed else "a.nii")
    image = nibabel.Nifti1Image(samples, None)
    image.set_sform(affine, 2)
    image.to_filename(path)
    hold(path, samples, affine)


@settings(max_examples=15)
@given(lengths=LENGTHS.map(lambda each: each[:4]), affine=affines(), seed=st.integers(0, 99))
def test_every_sample_of_an_mgz_is_in_one_volume_in_its_place(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], affine: Affine, seed: int
) -> None:
    # MGH keeps edges and directions at right angles alone.
    turn, _ = np.linalg.qr(affine[:3, :3])
    affine[:3, :3] = turn @ np.diag([0.83, 1.37, 2.9])
    samples = stored(lengths, seed)
    path = tmp_path_factory.mktemp("mgz") / "a.mgz"
    nibabel.MGHImage(samples, affine.astype(np.float32)).to_filename(path)
    hold(path, samples, affine)


@settings(max_examples=25)
@given(
    lengths=LENGTHS.map(lambda each: each[:4]),
    affine=affines(),
    seed=st.integers(0, 99),
    encoding=st.sampled_from(["raw", "gzip", "bzip2", "ascii"]),
    first=st.booleans(),
    kind=st.sampled_from(["list", "vector", "time"]),
)
def test_every_sample_of_an_nrrd_is_in_one_volume_in_its_place(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    affine: Affine,
    seed: int,
    encoding: str,
    first: bool,  # noqa: FBT001 - drawn
    kind: str,
) -> None:
    samples = stored(lengths, seed)
    rows, kinds, written = affine[:3, :3].T, ["domain"] * 3, samples
    if samples.ndim > 3:
        rows, kinds = np.vstack([rows, [np.nan] * 3]), [*kinds, kind]
        if first:
            rows, kinds, written = np.roll(rows, 1, 0), kinds[3:] + kinds[:3], samples
            written = np.moveaxis(samples, 3, 0)
    header = {
        "space": "right-anterior-superior",
        "space directions": rows,
        "space origin": affine[:3, 3],
        "kinds": kinds,
        "encoding": encoding,
    }
    path = tmp_path_factory.mktemp("nrrd") / "a.nrrd"
    nrrd.write(str(path), written, header)
    hold(path, samples, affine)


@settings(max_examples=15)
@given(
    planes=st.integers(2, 5),
    kinds=st.integers(1, 3),
    affine=affines(),
    data=st.data(),
    enhanced=st.booleans(),
)
def test_every_frame_of_dicom_is_in_one_volume_in_its_place_in_whatever_order(
    tmp_path_factory: pytest.TempPathFactory,
    write_volume: Any,
    planes: int,
    kinds: int,
    affine: Affine,
    data: st.DataObject,
    enhanced: bool,  # noqa: FBT001 - drawn
) -> None:
    samples = stored([4, 3, planes, kinds], 8)
    turn, _ = np.linalg.qr(affine[:3, :3])
    right, down, normal = turn[:, 0], turn[:, 1], np.cross(turn[:, 0], turn[:, 1])
    # Slices lean against their normal, as those of a tilted gantry do.
    step = normal * 2.9 + right * data.draw(st.floats(-1.5, 1.5))
    first, folder = affine[:3, 3], tmp_path_factory.mktemp("dicom")
    order = data.draw(st.permutations(range(planes * kinds)))
    frames: list[tuple[NDArray[np.int16], list[float], float]] = []
    for number in order:
        kind, plane = divmod(number, planes)
        echo = (11.3, 37.7, 78.9)[kind]
        frames.append((samples[:, :, plane, kind].T, [*(first + plane * step)], echo))
    whole = np.zeros((4, 3, len(frames)), np.int16)
    orientation = [*right, *down]
    if enhanced:
        path = write_volume.enhanced(folder / "many.dcm", whole)
        made = dcmread(path)
        shared = made.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = orientation
        for group, (_picture, position, echo) in zip(
            made.PerFrameFunctionalGroupsSequence, frames, strict=True
        ):
            group.PlanePositionSequence[0].ImagePositionPatient = position
            inner = Dataset()
            inner.EffectiveEchoTime = echo
            group.MREchoSequence = Sequence([inner])
        made.PixelData = b"".join(picture.tobytes() for picture, _position, _echo in frames)
        made.save_as(path)
    else:
        path = write_volume.dicom(folder, whole)
        for file, (picture, position, echo) in zip(sorted(path.iterdir()), frames, strict=True):
            made = dcmread(file)
            made.ImagePositionPatient, made.ImageOrientationPatient = position, orientation
            made.EchoTime, made.PixelData = echo, picture.tobytes()
            made.save_as(file)
    lps = np.eye(4)
    lps[:3, :3] = np.stack([right * 0.8, down * 0.8, step], axis=1)
    lps[:3, 3] = first
    hold(path, samples, TO_LPS @ lps)
