"""Where voxels lie, whichever way the file counts and however long they are along each axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidecam.geometry import AXES
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.geometry import Axis

MILLIMETRES = st.floats(0.3, 5)


@st.composite
def grids(draw: st.DrawFn) -> VolumeGrid:
    """Draw a grid of oblong voxels whose axes are permuted and reversed against the world's."""
    affine = np.eye(4)
    turned = np.eye(3)[draw(st.permutations(range(3)))]
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    lengths = draw(st.tuples(*[MILLIMETRES] * 3))
    affine[:3, :3] = turned * np.array(signs) * np.array(lengths)
    affine[:3, 3] = draw(st.tuples(*[st.floats(-90, 90)] * 3))
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    return VolumeGrid(shape, affine)


def numbered(shape: tuple[int, ...]) -> NDArray[np.int64]:
    return np.arange(np.prod(shape)).reshape(shape)


@given(grids())
def test_every_voxel_keeps_its_place_in_the_world(grid: VolumeGrid) -> None:
    turned = grid.to_spl(numbered(grid.shape))
    for indices in np.ndindex(grid.spl_shape):
        i, j, k = np.argwhere(numbered(grid.shape) == turned[indices])[0]
        right, front, up = (grid.affine @ (i, j, k, 1))[:3]
        np.testing.assert_allclose(
            (grid.spl_affine @ (*indices, 1))[:3], (up, -front, -right), atol=1e-9
        )


@given(grids(), st.floats(0, 40), st.floats(0, 2 * np.pi))
def test_the_shear_of_a_grid_is_the_tilt_of_its_slices_however_it_is_turned(
    grid: VolumeGrid, tilt: float, way: float
) -> None:
    affine = grid.affine.copy()
    i, j, k = (affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in range(3))
    aside = np.cos(way) * i + np.sin(way) * j
    affine[:3, 2] = 3.7 * (np.cos(np.radians(tilt)) * k + np.sin(np.radians(tilt)) * aside)
    turn = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0], [0.48, 0.64, 0.6]])
    affine[:3, :3] = turn @ affine[:3, :3]
    assert VolumeGrid(grid.shape, affine).shear == pytest.approx(tilt, abs=1e-5)
    assert grid.shear == pytest.approx(0, abs=1e-5)


@given(grids())
def test_what_is_turned_back_is_as_the_file_has_it(grid: VolumeGrid) -> None:
    voxels = numbered((*grid.shape, 2))
    np.testing.assert_array_equal(grid.from_spl(grid.to_spl(voxels)), voxels)
    turned = numbered(grid.spl_shape)
    np.testing.assert_array_equal(grid.to_spl(grid.from_spl(turned)), turned)


@given(grids(), st.sampled_from(AXES))
def test_planes_have_the_spacing_the_order_and_the_places_of_their_voxels(
    grid: VolumeGrid, axis: Axis
) -> None:
    stack = PlaneStack(grid, axis)
    voxels = numbered(grid.spl_shape)
    pictures = stack.to_pictures(voxels)
    assert pictures.shape == stack.shape
    np.testing.assert_array_equal(stack.from_pictures(pictures), voxels)
    rows, columns = (grid.scale[place] for place in range(3) if place != stack.place)
    assert stack.spacing_mm == (grid.scale[stack.place], rows, columns)
    if len(stack.positions) > 1:
        assert np.diff(stack.positions) == pytest.approx(stack.spacing_mm[0])
    turned = stack.to_pictures(grid.to_spl(numbered(grid.shape)))
    own = np.moveaxis(numbered(grid.shape), grid.file_axis(stack.place), 0)[stack.file_indices]
    for plane, there in zip(turned, own, strict=True):
        np.testing.assert_array_equal(np.sort(plane, axis=None), np.sort(there, axis=None))


@given(
    grids(),
    st.sampled_from(AXES),
    st.tuples(*[st.floats(-0.4, 0.4)] * 6),
)
def test_a_planes_position_is_the_mean_of_its_voxels_along_the_axis_however_oblique(
    straight: VolumeGrid, axis: Axis, shears: tuple[float, ...]
) -> None:
    affine = straight.affine.copy()
    lean = np.eye(3)
    lean[~np.eye(3, dtype=bool)] += np.array(shears) / 3
    affine[:3, :3] = lean @ affine[:3, :3]
    grid = VolumeGrid(straight.shape, affine)
    stack = PlaneStack(grid, axis)
    place = AXES.index(axis)
    # z, y and x in LPS: upwards, backwards, to the left.
    places = np.zeros((*grid.spl_shape, 3))
    numbers = grid.to_spl(numbered(grid.shape))
    for indices in np.ndindex(grid.spl_shape):
        i, j, k = np.argwhere(numbered(grid.shape) == numbers[indices])[0]
        right, front, up = (affine @ (i, j, k, 1))[:3]
        places[indices] = (up, -front, -right)
    means = np.moveaxis(places[..., place], place, 0).reshape(stack.shape[0], -1).mean(axis=1)
    np.testing.assert_allclose(stack.positions, means, atol=1e-9)
    apart = np.moveaxis(places, place, 0)
    for step in np.linalg.norm(apart[1:] - apart[:-1], axis=-1).ravel():
        assert stack.spacing_mm[0] == pytest.approx(step)


@given(
    grids(),
    st.one_of(st.floats(0, 0.009), st.floats(0.011, 0.9)),
    st.integers(0, 2),
    st.sampled_from((-1, 1)),
)
def test_grids_lie_alike_up_to_a_hundredth_of_their_shortest_voxel(
    grid: VolumeGrid, share: float, axis: int, sign: int
) -> None:
    affine = grid.affine.copy()
    affine[axis, 3] += sign * share * min(grid.scale)
    assert grid.lies_like(VolumeGrid(grid.shape, affine)) == (share < 0.01)
    longer = VolumeGrid((grid.shape[0] + 1, *grid.shape[1:]), grid.affine)
    assert not grid.lies_like(longer)
