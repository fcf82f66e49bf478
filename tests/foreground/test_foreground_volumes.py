"""What of a volume is its foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest

from slidecam.foreground.volumes import MaskOnVolume, _large_pieces, find_head, mask_on
from slidecam.geometry import LevelBox
from slidecam.sources import open_source
from slidecam.sources.volume import VolumeSource
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from pathlib import Path


def test_pieces_stay_down_to_a_tenth_of_the_largest() -> None:
    mask = np.zeros((9, 30, 30), np.bool_)
    mask[1:5, 2:12, 3:13] = True  # 400 voxels
    mask[1:5, 20:25, 20:22] = True  # 40, a tenth
    mask[7, 1:14, 25:28] = True  # 39
    kept = _large_pieces(mask)
    assert kept[:6].sum() == 440
    assert not kept[6:].any()


SHAPE = (7, 5, 4)
AFFINE = np.diag([1.3, 1.7, 2.9, 1.0])  # the axes run to the right, to the front and upwards


def on_volume(mask: Path) -> MaskOnVolume:
    return mask_on(mask, PlaneStack(VolumeGrid(SHAPE, AFFINE), "axial"))


def marked_right(folder: Path, codes: int, repeats: tuple[int, ...] = ()) -> Path:
    """Write a mask of what is farthest to the right, as the volume lies; or several of them."""
    voxels = np.zeros((*SHAPE, *repeats), np.uint8)
    voxels[-2:] = 1
    image = nibabel.Nifti1Image(voxels, AFFINE)
    image.set_qform(AFFINE, code=codes)
    image.set_sform(AFFINE, code=codes)
    nibabel.save(image, folder / "mask.nii")
    return folder / "mask.nii"


def test_a_mask_whose_file_knows_its_place_needs_no_word(tmp_path: Path) -> None:
    found = on_volume(marked_right(tmp_path, codes=1))
    assert found.readings == ()
    assert found.planes[:, :, :2].all()  # the patient's right is on the picture's left
    assert not found.planes[:, :, 2:].any()


def test_a_mask_whose_side_is_a_guess_is_turned_and_says_so(tmp_path: Path) -> None:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[-2:] = 1
    image = nibabel.Nifti1Image(voxels, None)
    image.header.set_zooms((1.3, 1.7, 2.9))
    image.header["qform_code"] = image.header["sform_code"] = 0
    nibabel.save(image, tmp_path / "mask.nii")
    # nibabel puts the middle of such a volume at the world's: the volume is placed so, too.
    affine = AFFINE.copy()
    affine[:3, 3] = -(np.array(SHAPE) - 1) / 2 * np.diag(AFFINE)[:3]
    found = mask_on(tmp_path / "mask.nii", PlaneStack(VolumeGrid(SHAPE, affine), "axial"))
    assert found.planes[:, :, -2:].all()
    guess, turned = found.readings
    assert guess.startswith("The mask mask.nii: Neither matrix of its header has a code")
    assert "left and right are a guess" in guess
    assert "(LAS, assumed) to the volume's (RAS)" in turned


def test_of_a_mask_of_several_volumes_the_first_is_taken_and_no_option_is_named(
    tmp_path: Path,
) -> None:
    found = on_volume(marked_right(tmp_path, codes=1, repeats=(3,)))
    assert found.readings == ("The mask mask.nii: It holds 3 volumes: volume 0 is read.",)


@pytest.mark.parametrize("nothing", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("air", [17.0, -1000.0])
def test_what_is_no_number_is_air_and_changes_no_other_slice(
    tmp_path: Path, nothing: float, air: float
) -> None:
    voxels = np.full((21, 23, 9), air, np.float32)
    voxels[4:17, 5:19] = air + 731
    plain = nibabel.Nifti1Image(voxels.copy(), np.eye(4))
    nibabel.save(plain, tmp_path / "plain.nii")
    voxels[..., 3] = nothing
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "volume.nii")
    with open_source(tmp_path / "plain.nii") as source, open_source(tmp_path / "volume.nii") as odd:
        assert isinstance(source, VolumeSource)
        assert isinstance(odd, VolumeSource)
        expected, found = find_head(source).volume, find_head(odd).volume
        shown = odd.read(0, LevelBox(0, 0, 21, 23), plane=3)
    assert expected.any()
    assert not found[3].any()
    assert not shown.any()
    rest = [plane for plane in range(9) if plane != 3]
    np.testing.assert_array_equal(found[rest], expected[rest])


def test_a_volume_of_one_large_value_is_shown_white(tmp_path: Path) -> None:
    voxels = np.zeros((21, 23, 9), np.float32)
    voxels[4:17, 5:19, 2] = 1.3e30
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "volume.nii")
    with open_source(tmp_path / "volume.nii") as source:
        shown = source.read(0, LevelBox(0, 0, 21, 23), plane=2)
    assert sorted(np.unique(shown)) == [0, 255]
