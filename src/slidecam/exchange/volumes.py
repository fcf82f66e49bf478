"""The heatmap of a volume: `heatmap.ome.zarr` and NIfTI, on the volume's own voxels.

The Zarr has one channel per class, in (S, P, L) order, in mm: NGFF as for slides, with the axes c,
z, y, x. Scale is the size of a voxel, translation the place of the first one's centre in LPS+ mm.
NGFF 0.4 knows no turned axes: where a volume is oblique, both are of its own grid, and
``slidecam.affine_ras_mm`` leads from the file's indices to the world.

NIfTI has the file's own voxel order and affine, and is written block by block.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import StoreError
from slidecam.exchange.ome_zarr import (
    ATTRIBUTES,
    channels_object,
    channels_of,
    empty_array,
    multiscale_object,
    ngff_attributes,
    open_group,
    stored_array,
    without,
)
from slidecam.extras import brought
from slidecam.files import replacing, replacing_folder
from slidecam.registry import deferred
from slidecam.sources.placement import farthest
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import zarr
    from nibabel import nifti1, nifti2
    from numpy.typing import NDArray

    from slidecam.exchange.ome_zarr import Ngff
    from slidecam.pixels import RGB
else:
    zarr = deferred("zarr")
    nifti1 = brought("nibabel.nifti1", "volumes")
    nifti2 = brought("nibabel.nifti2", "volumes")


NIFTI_1_LONGEST = 32_767
"""Voxels along an axis that NIfTI-1 can count."""

SCANNER = 1
"""Code of an affine that leads to the scanner's millimetres."""

QFORM_ERROR_MM = 0.01
"""How far a qform may put a corner from the affine, and still be believed."""

ITK_SHEAR = 0.005
"""Degrees up to which ITK takes axes for ones at right angles."""

GZIP_LEVEL = 2
"""Heat hardly shrinks any more beyond it, and takes several times as long."""

DESCRIPTION_LETTERS = 79
"""Letters of a NIfTI description."""


def write_nifti(
    path: Path,
    blocks: Iterator[NDArray[np.generic]],
    grid: VolumeGrid,
    kind: str,
    description: str,
) -> None:
    """Write a volume on the voxels of ``grid``; all of it or nothing.

    Parameters
    ----------
    path
        Ends in ``.nii.gz``.
    blocks
        (i, j, any number of k) each, in the file's own order; not-a-number is written as 0, which
        all viewers know.
    grid
        Shape and affine; the affine is stored as float32, which is all that NIfTI-1 holds. A
        NIfTI's own codes and matrices are stored as they are, so that every program puts both at
        the same place. Of others the qform has a code only where it can hold the affine.
    kind
        ``float32`` or ``uint8``.
    description
        One line of the header.
    """
    header = _header(grid, kind, description)
    # Without the time and the name, the same heat gives the same bytes.
    with (
        replacing(path) as fresh,
        fresh.open("wb") as stream,
        gzip.GzipFile("", "wb", GZIP_LEVEL, stream, mtime=0) as packed,
    ):
        header.write_to(packed)
        for block in blocks:
            packed.write(np.ascontiguousarray(np.nan_to_num(block).T, kind).tobytes())


def _header(grid: VolumeGrid, kind: str, description: str) -> nifti1.Nifti1Header:
    header = nifti1.Nifti1Header()
    if max(grid.shape) > NIFTI_1_LONGEST:
        header = nifti2.Nifti2Header()
    header.set_data_shape(grid.shape)
    header.set_data_dtype(np.dtype(kind))
    header["descrip"] = description[:DESCRIPTION_LETTERS].encode("ascii", "replace")
    header["vox_offset"] = header.single_vox_offset
    header["scl_slope"], header["scl_inter"] = 1, 0
    if grid.nifti:
        _place_as_stored(header, grid)
    else:
        _place(header, grid)
    return header


def _place(header: nifti1.Nifti1Header, grid: VolumeGrid) -> None:
    """Store the affine as sform, and as qform too where no shear is lost in it."""
    header.set_xyzt_units("mm")
    header.set_sform(grid.affine, code=SCANNER)
    header.set_qform(grid.affine, code=SCANNER, strip_shears=True)
    if farthest(header.get_qform(), grid.affine, grid.shape) > QFORM_ERROR_MM:
        header["qform_code"] = 0


def words_on_itk(grid: VolumeGrid) -> Iterator[str]:
    """Yield that ITK opens no NIfTI on the voxels of ``grid``, where it does not."""
    if _header(grid, "uint8", "")["qform_code"] > 0 or grid.shear < ITK_SHEAR:
        return
    yield (
        "ITK (3D Slicer, ITK-SNAP, SimpleITK) opens no NIfTI whose axes are not at right angles"
        " (“orthonormal direction cosines”), and so neither its heatmaps nor its mask: napari"
        " shows them on the volume, as does what heeds the sform (nibabel, FSLeyes); for ITK"
        " resample both to axes at right angles."
    )


def _place_as_stored(header: nifti1.Nifti1Header, grid: VolumeGrid) -> None:
    """Store what the volume's own NIfTI header says of its place, and the unit it says it in."""
    for name, value in grid.nifti.items():
        if name == "pixdim":
            header[name][: value.size] = value
        else:
            header[name] = value


PLANES = 16
"""Planes of a chunk along the axis that was classified: they are painted and written together."""

CHUNK = 128
"""Edge of a chunk along the two other axes."""


PLACED = (
    "axis",
    "signed",
    "order",
    "file_shape",
    "affine_ras_mm",
    "oblique",
    "class_colors",
)
"""Attributes of ours that say what `VolumeRasterSpec` says, or follow from it."""


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
    path: Path,
    planes: Iterable[NDArray[np.float32]],
    spec: VolumeRasterSpec,
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
            place: list[slice] = [slice(None)] * 4
            place[1 + spec.stack.place] = slice(start, start + len(slab))
            classes = np.moveaxis(slab, 1, 0)
            array[tuple(place)] = np.stack(list(map(spec.stack.from_pictures, classes)))


def read_volume_ome_zarr(path: Path) -> VolumeHeatmap:
    """Open a heatmap that `write_volume_ome_zarr` wrote; StoreError if there is none."""
    try:
        group = zarr.open_group(path, mode="r")
        attributes: dict[str, Any] = dict(group.attrs)
        spec = _spec_from(attributes.get("ome", attributes), attributes[ATTRIBUTES])
        return VolumeHeatmap(spec, stored_array(path, group, 0))
    except (FileNotFoundError, KeyError, IndexError) as error:
        problem = f"This is no volume's heatmap of slidecam ({error!r})."
        remedy = "Choose the heatmap.ome.zarr of a volume that slidecam wrote."
        raise StoreError(path, problem, remedy) from error


def _slabs(
    planes: Iterable[NDArray[np.float32]],
) -> Iterator[tuple[int, NDArray[np.float32]]]:
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
    class_names, class_colors = channels_of(ome, own)
    return VolumeRasterSpec(
        name=ome["multiscales"][0]["name"],
        class_names=class_names,
        class_colors=class_colors,
        stack=PlaneStack(grid, own["axis"]),
        signed=own["signed"],
        ngff="0.5" if "version" in ome else "0.4",
        attributes=without(own, PLACED),
    )
