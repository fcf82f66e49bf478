"""What is written of volumes comes back: heat as OME-Zarr and NIfTI, the table of slices.

And a montage is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from ngff import multiscale_of, places_of
from slidecam.classes import ClassSet
from slidecam.drawing.heat import glowing
from slidecam.errors import StoreError, UsageError
from slidecam.exchange.volumes import (
    VolumeRasterSpec,
    read_volume_ome_zarr,
    write_nifti,
    write_volume_ome_zarr,
)
from slidecam.reports.montage import (
    MontageFacts,
    MontageSlice,
    decisive_slices,
    write_montage_png,
)
from slidecam.runs.slices import SliceTable, read_slices_csv, write_slices_csv
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from pathlib import Path

TURNED = np.array([[0, 0, -2.0, 30], [0.8, 0, 0, -20], [0, -0.9, 0, 12], [0, 0, 0, 1]])
SHAPE = (21, 18, 34)


def table(count: int = 30) -> SliceTable:
    chances = np.linspace(0, 1, count, dtype=np.float32)
    probabilities = np.stack([1 - chances, chances], axis=1)
    probabilities[-2:] = np.nan
    status = ("done",) * (count - 2) + ("skipped", "failed")
    return SliceTable(
        "axial",
        np.arange(count, dtype=np.float64) * 1.5 - 3,
        np.arange(count)[::-1].copy(),
        status,
        probabilities,
        ("a", "b"),
    )


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("ngff", ["0.4", "0.5"])
def test_heat_comes_back_plane_by_plane(tmp_path: Path, axis: Any, ngff: Any) -> None:
    stack = PlaneStack(VolumeGrid(SHAPE, TURNED), axis)
    heat = np.random.default_rng(0).random((2, *stack.shape), np.float32)
    heat[:, 3] = np.nan
    spec = VolumeRasterSpec(
        "v", ("a", "b"), ((1, 2, 3), (4, 5, 6)), stack, ngff=ngff, attributes={"method": "cam"}
    )
    write_volume_ome_zarr(tmp_path / "h", (heat[:, plane] for plane in range(stack.shape[0])), spec)
    found = read_volume_ome_zarr(tmp_path / "h")
    np.testing.assert_array_equal(found.pictures(1, 0, stack.shape[0]), heat[1])
    np.testing.assert_array_equal(np.asarray(found.array[0]), stack.from_pictures(heat[0]))
    assert (found.spec.class_names, found.spec.ngff, found.spec.stack.axis) == (
        ("a", "b"),
        ngff,
        axis,
    )
    assert found.spec.attributes == {"method": "cam"}
    np.testing.assert_array_equal(found.spec.stack.grid.affine, TURNED)
    image = multiscale_of(tmp_path / "h")
    assert [axis.unit for axis in image.axes] == [None, "millimeter", "millimeter", "millimeter"]
    ((scale, moved),) = places_of(image)
    assert scale[1:] == pytest.approx(found.scale)
    assert moved[1:] == pytest.approx(found.translate)
    assert found.scale == pytest.approx((0.9, 0.8, 2.0))  # up along j, back along i, left along k
    assert found.translate == pytest.approx(tuple(stack.grid.translate))


def test_the_place_of_a_voxel_is_the_affines() -> None:
    grid = VolumeGrid(SHAPE, TURNED)
    file_index = np.array([2, 5, 7, 1.0])
    right, front, up, _one = TURNED @ file_index
    spl = np.argwhere(
        grid.to_spl(np.arange(np.prod(SHAPE)).reshape(SHAPE))
        == np.ravel_multi_index((2, 5, 7), SHAPE)
    )[0]
    place = np.array(grid.translate) + spl * np.array(grid.scale)
    np.testing.assert_allclose(place, (up, -front, -right), atol=1e-9)


def test_a_slides_heatmap_is_no_volumes(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no volume's heatmap"):
        read_volume_ome_zarr(tmp_path)


def test_nifti_has_the_affine_and_the_voxels(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    values[0, 0, 0] = np.nan
    blocks = iter([values[:, :, :10], values[:, :, 10:]])
    write_nifti(tmp_path / "a.nii.gz", blocks, VolumeGrid(SHAPE, TURNED), "float32", "heat")
    image = nibabel.nifti1.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), np.nan_to_num(values))
    np.testing.assert_allclose(image.affine, TURNED, atol=1e-6)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert bytes(image.header["descrip"].tobytes()).startswith(b"heat")


def test_what_nifti_1_cannot_count_is_nifti_2(tmp_path: Path) -> None:
    grid = VolumeGrid((40_000, 2, 1), np.eye(4))
    write_nifti(tmp_path / "a.nii.gz", iter([np.ones(grid.shape)]), grid, "uint8", "")
    image = nibabel.load(tmp_path / "a.nii.gz")
    assert type(image).__name__ == "Nifti2Image"
    assert np.asarray(image.dataobj).sum() == 80_000  # type: ignore[attr-defined]


def test_the_slices_table_comes_back(tmp_path: Path) -> None:
    written = table()
    write_slices_csv(written, tmp_path / "slices.csv")
    found = read_slices_csv(tmp_path / "slices.csv")
    np.testing.assert_allclose(found.probabilities, written.probabilities, atol=1e-6)
    np.testing.assert_array_equal(found.file_indices, written.file_indices)
    np.testing.assert_allclose(found.positions, written.positions)
    assert found.status == written.status
    assert found.class_names == ("a", "b")
    (tmp_path / "other.csv").write_text("x,y\n1,2\n")
    with pytest.raises(UsageError, match=r"columns are x, y"):
        read_slices_csv(tmp_path / "other.csv")


def test_decisive_slices_are_the_likeliest_and_not_one_six_times() -> None:
    found = decisive_slices(table(96), 1)
    assert found == [73, 77, 81, 85, 89, 93]  # every 96 / 24th from the last one done
    assert decisive_slices(table(5), 0) == [0, 1, 2]


def test_heat_glows_and_its_absence_leaves_the_anatomy_bare() -> None:
    grey = np.full((4, 4, 3), 90, np.uint8)
    heat = np.zeros((4, 4), np.float32)
    heat[1, 1] = 1
    shown = glowing(grey, heat)
    assert (shown[0, 0] == 90).all()
    assert shown[1, 1, 0] > 150
    assert glowing(grey, -heat, signed=True)[1, 1, 2] > glowing(grey, -heat, signed=True)[1, 1, 0]


@pytest.mark.parametrize("shown", [0, 3])
def test_a_montage_is_drawn_with_and_without_slices(tmp_path: Path, shown: int) -> None:
    slices = [
        MontageSlice(n, np.full((9, 7, 3), 40 * n, np.uint8), np.zeros((9, 7), np.float32))
        for n in range(shown)
    ]
    classes = ClassSet(("a", "b"), "softmax", ((255, 0, 0), (0, 0, 255)))
    facts = MontageFacts("v", "d", "Called a", "a", classes, 9 / 7)
    write_montage_png(tmp_path / "m.png", slices, table(), facts)
    with Image.open(tmp_path / "m.png") as picture:
        assert picture.size[0] == 2100
        assert picture.size[1] > (700 if shown else 500)
