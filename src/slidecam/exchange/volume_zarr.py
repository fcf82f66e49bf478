"""`heatmap.ome.zarr` of a volume.

One channel per class, in (S, P, L) order, on the volume's own voxels, in mm.

NGFF as for slides, with the axes c, z, y, x: scale is the size of a voxel, translation the place of
the first one's centre in LPS+ mm. NGFF 0.4 knows no turned axes: where a volume is oblique, both
are of its own grid, and ``slidecam.affine_ras_mm`` leads from the file's indices to the world.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from slidecam.errors import StoreError
from slidecam.exchange.ome_zarr import (
    ATTRIBUTES,
    channels_object,
    empty_array,
    multiscale_object,
    ngff_attributes,
    open_group,
)
from slidecam.files import replacing_folder
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.exchange.ome_zarr import Ngff
    from slidecam.pixels import RGB

PLANES = 16
"""Planes of a chunk along the axis that was classified: they are painted and written together."""

CHUNK = 128
"""Edge of a chunk along the two other axes."""


@dataclass(frozen=True)
class VolumeRasterSpec:
    """What the heatmap of a volume is and where it lies.

    Attributes
    ----------
    name
        The volume's name.
    class_names, class_colors
        One of each per channel.
    stack
        The planes that were classified.
    signed
        Whether values run from -1 to 1 and not from 0 to 1.
    ngff
        The version of the format to write.
    attributes
        What else a reader should know, as JSON.
    """

    name: str
    class_names: tuple[str, ...]
    class_colors: tuple[RGB, ...]
    stack: PlaneStack
    signed: bool = False
    ngff: Ngff = "0.4"
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class VolumeHeatmap:
    """A volume's heatmap on disk.

    Attributes
    ----------
    spec
        What it is and where it lies.
    array
        float32, (classes, S, P, L), unread; NaN where nothing was classified.
    """

    spec: VolumeRasterSpec
    array: zarr.Array[Any]

    @property
    def scale(self) -> tuple[float, float, float]:
        """Size of a voxel along S, P and L in mm."""
        return self.spec.stack.grid.scale

    @property
    def translate(self) -> tuple[float, float, float]:
        """Where the centre of the first voxel lies: z, y, x in LPS+ mm."""
        return self.spec.stack.grid.translate

    def pictures(self, index: int, start: int, stop: int) -> NDArray[np.float32]:
        """Return a class's heat on some planes as hung, float32, (planes, rows, columns)."""
        place: list[int | slice] = [index, slice(None), slice(None), slice(None)]
        place[1 + self.spec.stack.place] = slice(start, stop)
        voxels = np.asarray(self.array[tuple(place)])
        return np.asarray(self.spec.stack.to_pictures(voxels), np.float32)


def write_volume_ome_zarr(
    path: Path, planes: Iterable[NDArray[np.float32]], spec: VolumeRasterSpec
) -> None:
    """Write a heatmap plane by plane; all of it or nothing.

    Memory is bounded by `PLANES` planes of all classes.

    Parameters
    ----------
    path
        The folder to write, replaced if it exists.
    planes
        float32, (classes, rows, columns) each, as planes are hung, in their order.
    spec
        What the heatmap is and where it lies.
    """
    with replacing_folder(path) as fresh:
        group = open_group(fresh, spec.ngff)
        group.attrs.update(_attributes(spec))
        array = _empty(group, spec)
        for start, slab in _slabs(planes):
            voxels = np.stack(
                [np.asarray(spec.stack.from_pictures(each)) for each in np.moveaxis(slab, 1, 0)]
            )
            place: list[slice] = [slice(None)] * 4
            place[1 + spec.stack.place] = slice(start, start + len(slab))
            array[tuple(place)] = voxels


def read_volume_ome_zarr(path: Path) -> VolumeHeatmap:
    """Open a heatmap that `write_volume_ome_zarr` wrote; StoreError if there is none."""
    try:
        group = zarr.open_group(path, mode="r")
        attributes: dict[str, Any] = dict(group.attrs)
        spec = _spec_from(attributes.get("ome", attributes), attributes[ATTRIBUTES])
        array = group["0"]
    except (FileNotFoundError, KeyError, IndexError) as error:
        remedy = "Choose the heatmap.ome.zarr of a volume that slidecam wrote."
        raise StoreError(
            path, f"this is no volume's heatmap of slidecam ({error!r}).", remedy
        ) from error
    if not isinstance(array, zarr.Array):
        raise StoreError(path, "its level 0 is not an array.", "Write the heatmap again.")
    return VolumeHeatmap(spec, array)


def _slabs(planes: Iterable[NDArray[np.float32]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the first plane's number and `PLANES` planes, (planes, classes, rows, columns)."""
    start, waiting = 0, []
    for plane in planes:
        waiting.append(plane)
        if len(waiting) == PLANES:
            yield start, np.stack(waiting)
            start, waiting = start + PLANES, []
    if waiting:
        yield start, np.stack(waiting)


def _empty(group: zarr.Group, spec: VolumeRasterSpec) -> zarr.Array[Any]:
    lengths = spec.stack.grid.spl_shape
    edges = [CHUNK] * 3
    edges[spec.stack.place] = PLANES
    chunks = (1, *map(min, lengths, edges))
    return empty_array(group, "0", (len(spec.class_names), *lengths), chunks, spec.ngff)


def _attributes(spec: VolumeRasterSpec) -> dict[str, Any]:
    grid = spec.stack.grid
    own = dict(spec.attributes) | {
        "axis": spec.stack.axis,
        "signed": spec.signed,
        "order": "(S, P, L): upwards, backwards, to the patient's left",
        "file_shape": list(grid.shape),
        "affine_ras_mm": grid.affine.tolist(),
        "oblique": grid.is_oblique,
        "class_colors": list(map(list, spec.class_colors)),
    }
    multiscale = multiscale_object(spec.name, [(grid.scale, grid.translate)], "millimeter")
    channels = channels_object(spec.class_names, spec.class_colors, signed=spec.signed)
    return ngff_attributes(spec.ngff, multiscale, channels, own)


def _spec_from(ome: Mapping[str, Any], own: Mapping[str, Any]) -> VolumeRasterSpec:
    first, second, third = own["file_shape"]
    grid = VolumeGrid((first, second, third), np.array(own["affine_ras_mm"], np.float64))
    placed = ("axis", "signed", "order", "file_shape", "affine_ras_mm", "oblique", "class_colors")
    return VolumeRasterSpec(
        name=ome["multiscales"][0]["name"],
        class_names=tuple(channel["label"] for channel in ome["omero"]["channels"]),
        class_colors=tuple((red, green, blue) for red, green, blue in own["class_colors"]),
        stack=PlaneStack(grid, own["axis"]),
        signed=own["signed"],
        ngff="0.5" if "version" in ome else "0.4",
        attributes={key: value for key, value in own.items() if key not in placed},
    )
