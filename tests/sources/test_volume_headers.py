"""Headers of volumes that count too few slices, or say what no volume is."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import nibabel
import nrrd
import numpy as np
import pytest

from slidecam.errors import RefusedSourceError
from slidecam.sources import open_source

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SLICES, KEPT = 13, 9


@pytest.fixture
def voxels() -> NDArray[np.int16]:
    """Return (i, j, k) samples of which no two slices are alike."""
    return np.random.default_rng(4).integers(0, 900, (37, 31, SLICES), np.int16)


def readings(path: Path) -> str:
    with open_source(path) as source:
        assert source.facts.stack is not None
        assert source.facts.stack.shape == (KEPT, 31, 37)
        return " ".join(source.facts.readings)


SAID = f"that its header counts, for as much as {SLICES - KEPT} more: that is left out."


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "gz.nrrd", "nhdr"])
def test_slices_that_a_header_does_not_count_are_said_to_be_left_out(
    tmp_path: Path, voxels: NDArray[np.int16], suffix: str
) -> None:
    path, few = tmp_path / f"a.{suffix}", voxels[:, :, :KEPT]
    rest = voxels[:, :, KEPT:].tobytes("F")
    if "nii" in suffix:
        image = nibabel.Nifti1Image(few, np.diag([0.7, 0.9, 2.3, 1]))
        content = image.to_bytes() + rest
        path.write_bytes(gzip.compress(content) if suffix == "nii.gz" else content)
    elif suffix == "gz.nrrd":
        nrrd.write(str(path), voxels, {"encoding": "gzip", "spacings": [0.7, 0.9, 2.3]})
        shape = f"sizes: 37 31 {SLICES}".encode()
        path.write_bytes(path.read_bytes().replace(shape, f"sizes: 37 31 {KEPT}".encode()))
    else:
        nrrd.write(str(path), few, {"encoding": "raw", "spacings": [0.7, 0.9, 2.3]})
        with (tmp_path / "a.raw" if suffix == "nhdr" else path).open("ab") as file:
            file.write(rest)
    assert SAID in readings(path)


def test_what_follows_samples_and_is_less_than_a_slice_is_no_slice(
    tmp_path: Path, voxels: NDArray[np.int16]
) -> None:
    image = nibabel.Nifti1Image(voxels[:, :, :KEPT], np.eye(4))
    path = tmp_path / "a.nii"
    path.write_bytes(image.to_bytes() + bytes(2 * 37 * 31 - 1))
    assert "left out" not in readings(path)
    packed = tmp_path / "b.nii.gz"  # another file's bytes at its end are no count of its own
    packed.write_bytes(gzip.compress(image.to_bytes()) + b"\xf0\xff\xff\x7f")
    assert "left out" not in readings(packed)


def test_a_detached_raw_file_gives_the_slices_that_its_header_skips_to(
    tmp_path: Path, voxels: NDArray[np.int16]
) -> None:
    few = voxels[:, :, :KEPT]
    (tmp_path / "a.raw").write_bytes(bytes(77) + few.tobytes("F"))
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 37 31 9\nencoding: raw\nendian: little\n"
    shown = []
    for skip in (77, -1):
        path = tmp_path / f"{skip}.nhdr"
        path.write_text(f"{header}byte skip: {skip}\ndata file: a.raw\n\n")
        with open_source(path) as source:
            intensities = source.intensities(4)  # type: ignore[attr-defined]  # of a volume
            shown.append(np.asarray(intensities))
    assert sorted(shown[0].ravel()) == sorted(few[:, :, 4].ravel())
    assert np.array_equal(shown[0], shown[1])


@pytest.mark.parametrize("shape", [(163842, 1, 1), (1, 1, 77), (27307, 1, 6)])
def test_values_of_a_surface_are_no_volume(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    path = tmp_path / "thickness.nii"
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.float32), np.eye(4)), path)
    with pytest.raises(RefusedSourceError, match="values of a surface"):
        open_source(path)


def test_a_size_with_a_sign_is_said(tmp_path: Path, voxels: NDArray[np.int16]) -> None:
    path = tmp_path / "a.nii"
    image = nibabel.Nifti1Image(voxels[:, :, :KEPT], np.diag([0.7, 0.9, 2.3, 1]))
    image.set_sform(None, 0)
    content = bytearray(image.to_bytes())
    content[84:88] = np.float32(-0.9).tobytes()  # pixdim[2], of j
    path.write_bytes(content)
    assert "Its pixdim is negative along j" in readings(path)


def test_an_nrrd_header_that_contradicts_itself_or_lists_files_is_refused(tmp_path: Path) -> None:
    start = "NRRD0004\ntype: short\nsizes: 5 6 7\nencoding: raw\nendian: little\n"
    lying, listing = tmp_path / "a.nrrd", tmp_path / "b.nhdr"
    lying.write_bytes(f"{start}dimension: 4\n\n".encode() + bytes(420))
    listing.write_text(f"{start}dimension: 3\ndata file: LIST\na.raw\nb.raw\n")
    with pytest.raises(RefusedSourceError, match="Its header says 4 axes and the sizes of 3"):
        open_source(lying)
    with pytest.raises(RefusedSourceError, match="lie in several files"):
        open_source(listing)
