"""`heatmap.ome.zarr`: the heatmap as a multiscale image that lies on its slide to the pixel.

NGFF 0.4 (Zarr v2, Blosc, ``/``) is what QuPath, Fiji and napari read today; 0.5 (Zarr v3) is
written on request. Axes are c, y, x, with one channel per class. Places follow NGFF: a translation
says where the *centre* of the first pixel lies, in µm from the centre of the slide's first pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from slidecam.drawing.style import as_hex, lowest_share
from slidecam.errors import StoreError, UsageError
from slidecam.files import replacing_folder
from slidecam.geometry import RasterPlace, Size, Spacing
from slidecam.pixels import PyramidWriter
from slidecam.registry import deferred

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import zarr
    from numpy.typing import NDArray
    from zarr import codecs

    from slidecam.pixels import RGB
else:
    zarr = deferred("zarr")
    codecs = deferred("zarr.codecs")

CHUNK = 512
"""Edge of a chunk in pixels: napari pans smoothly over it and a file of it stays small."""

SMALL = 4 * CHUNK**2
"""Values of a level that is one chunk for all of its classes, if it is no longer than that."""

SMALLEST = 256
"""The pyramid ends with the first level that is no longer than this."""

ATTRIBUTES = "slidecam"
"""The key under which we say what NGFF has no word for."""

BLOSC_V2: Mapping[str, Any] = {
    "id": "blosc",
    "cname": "zstd",
    "clevel": 1,
    "shuffle": 1,
    "blocksize": 0,
}
"""Zstd inside Blosc, because QuPath's reader knows no bare Zstd."""

PLACED = ("pitch", "origin", "spacing_um_px", "signed", "size", "class_colors")
"""Attributes of ours that become fields of `RasterSpec`."""

Ngff = Literal["0.4", "0.5"]
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True)
class RasterSpec:
    """What a raster is and where it lies.

    Attributes
    ----------
    name
        The slide's name.
    class_names, class_colors
        One of each per channel.
    size
        Pixels of the finest level.
    pitch
        Level-0 pixels of the slide per pixel of the finest level.
    spacing
        µm per level-0 pixel of the slide; None where nobody knows it (a photograph): places are in
        pixels then.
    origin
        Left and top edge of the raster in level-0 pixels of the slide.
    signed
        Whether values run from -1 to 1 and not from 0 to 1.
    ngff
        The version of the format to write.
    attributes
        What else a reader should know, as JSON: the raw values that are painted as 0 and 1, the
        method.
    """

    name: str
    class_names: tuple[str, ...]
    class_colors: tuple[RGB, ...]
    size: Size
    pitch: float
    spacing: Spacing | None
    origin: tuple[float, float] = (0.0, 0.0)
    signed: bool = False
    ngff: Ngff = "0.4"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def level_sizes(self) -> list[Size]:
        """Pixels of each level, finest first.

        An odd edge is rounded up, so that nothing is cut off.
        """
        sizes = [self.size]
        while max(sizes[-1].width, sizes[-1].height) > SMALLEST:
            sizes.append(Size(-(-sizes[-1].width // 2), -(-sizes[-1].height // 2)))
        return sizes

    def level_scale(self, level: int) -> tuple[float, float]:
        """Return a level's µm per pixel as (y, x); level-0 pixels where there is no spacing."""
        return self._place(level).scale

    def level_translation(self, level: int) -> tuple[float, float]:
        """Return the centre of a level's first pixel, in µm from that of the slide, as (y, x)."""
        return self._place(level).translation

    def _place(self, level: int) -> RasterPlace:
        pitch = self.pitch * 2**level
        return RasterPlace((pitch, pitch), self.origin, self.spacing)


@dataclass(frozen=True, eq=False)
class HeatmapImage:
    """A heatmap on disk: its facts and levels, finest first, float32, (classes, height, width)."""

    spec: RasterSpec
    levels: tuple[zarr.Array[Any], ...]

    def level_for(self, longest: int) -> int:
        """Return the coarsest level whose longer side is >= ``longest`` pixels, else the finest."""
        chosen = 0
        for index, array in enumerate(self.levels):
            if max(array.shape[1:]) >= longest:
                chosen = index
        return chosen


def write_heatmap_ome_zarr(
    path: Path, bands: Iterable[NDArray[np.float32]], spec: RasterSpec
) -> None:
    """Write a heatmap that is painted from top to bottom, and its pyramid; all of it or nothing.

    Memory is bounded by a few bands. One of `CHUNK` rows is written fastest.

    Parameters
    ----------
    path
        The folder to write, replaced if it exists.
    bands
        float32, (classes, any rows, spec.size.width), values 0 to 1 (-1 to 1 if signed), NaN where
        there is nothing.
    spec
        What the raster is and where it lies.

    Raises
    ------
    UsageError
        If the bands do not add up to ``spec.size``.
    """
    with replacing_folder(path) as fresh:
        group = open_group(fresh, spec.ngff)
        group.attrs.update(_attributes(spec))
        levels = []
        for index, size in enumerate(spec.level_sizes):
            shape = (len(spec.class_names), size.height, size.width)
            levels.append(empty_array(group, str(index), shape, _chunks_of(shape), spec.ngff))
        pyramid = PyramidWriter(levels, CHUNK)
        for band in _fitting(bands, levels[0].shape):
            pyramid.add(band)
        pyramid.end()


def read_heatmap_ome_zarr(path: Path) -> HeatmapImage:
    """Open a heatmap that `write_heatmap_ome_zarr` wrote; StoreError if there is none."""
    try:
        group = zarr.open_group(path, mode="r")
        attributes: dict[str, Any] = dict(group.attrs)
        spec = _spec_from(attributes.get("ome", attributes), attributes[ATTRIBUTES])
    except (FileNotFoundError, KeyError, IndexError) as error:
        remedy = "Choose a heatmap.ome.zarr that slidecam wrote."
        raise StoreError(path, f"This is no heatmap of slidecam ({error!r}).", remedy) from error
    levels = tuple(stored_array(path, group, level) for level in range(len(spec.level_sizes)))
    return HeatmapImage(spec, levels)


def stored_array(path: Path, group: zarr.Group, level: int) -> zarr.Array[Any]:
    """Return a level of a heatmap, unread; StoreError if it is no array."""
    array = group[str(level)]
    if not isinstance(array, zarr.Array):
        raise StoreError(path, f"Level {level} is not an array.", "Write the heatmap again.")
    return array


def open_group(path: Path, ngff: Ngff) -> zarr.Group:
    """Begin a group in the Zarr format of a version of NGFF."""
    return zarr.open_group(path, mode="w", zarr_format=2 if ngff == "0.4" else 3)


def empty_array(
    group: zarr.Group,
    name: str,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    ngff: Ngff,
) -> zarr.Array[Any]:
    """Lay out an array of float32, whose axes are the last of c, z, y, x and c in front."""
    if ngff == "0.4":
        # The fill value is 0, because Java's JSON knows no NaN.
        return group.create_array(
            name,
            shape=shape,
            chunks=chunks,
            dtype="<f4",
            compressors=BLOSC_V2,
            chunk_key_encoding={"name": "v2", "separator": "/"},
            fill_value=0,
        )
    return group.create_array(
        name,
        shape=shape,
        chunks=chunks,
        dtype="float32",
        compressors=codecs.BloscCodec(typesize=4, cname="zstd", clevel=1, shuffle="shuffle"),
        dimension_names=("c", *"zyx"[1 - len(shape) :]),
        fill_value=0,
    )


def _fitting(
    bands: Iterable[NDArray[np.float32]], shape: tuple[int, ...]
) -> Iterator[NDArray[np.float32]]:
    """Yield bands; UsageError where they do not add up to a raster."""
    classes, height, width = shape
    row = 0
    for band in bands:
        if (band.shape[0], band.shape[2]) != (classes, width) or row + band.shape[1] > height:
            raise _misfit(f"A band {band.shape} comes after {row} rows", shape)
        yield band
        row += band.shape[1]
    if row != height:
        raise _misfit(f"The bands end after {row} rows", shape)


def _misfit(problem: str, shape: tuple[int, ...]) -> UsageError:
    return UsageError(f"{problem} of a raster {shape}.", "Paint the bands with their own spec.")


def _chunks_of(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the chunks of a level, (classes, height, width): a small one is one file in all."""
    if max(shape[1:]) <= CHUNK and math.prod(shape) <= SMALL:
        return shape
    return 1, CHUNK, CHUNK


def _attributes(spec: RasterSpec) -> dict[str, Any]:
    unit, spacing = None, None
    if spec.spacing is not None:
        unit, spacing = "micrometer", [spec.spacing.x, spec.spacing.y]
    own = dict(spec.attributes) | {
        "pitch": spec.pitch,
        "origin": list(spec.origin),
        "spacing_um_px": spacing,
        "signed": spec.signed,
        "size": [spec.size.width, spec.size.height],
        "class_colors": list(map(list, spec.class_colors)),
    }
    levels = range(len(spec.level_sizes))
    places = [(spec.level_scale(level), spec.level_translation(level)) for level in levels]
    multiscale = multiscale_object(spec.name, places, unit) | {"type": "mean"}
    channels = channels_object(spec.class_names, spec.class_colors, signed=spec.signed)
    return ngff_attributes(spec.ngff, multiscale, channels, own)


def multiscale_object(
    name: str,
    places: Sequence[tuple[tuple[float, ...], tuple[float, ...]]],
    unit: str | None,
) -> dict[str, Any]:
    """Return an NGFF multiscale image of channels and of y, x or z, y, x.

    Parameters
    ----------
    name
        Of the slide or volume.
    places
        Scale and translation of each level, along the axes after c.
    unit
        Of both, as NGFF names it; None where nobody knows it.
    """
    axes = [{"name": "c", "type": "channel"}]
    for name_of_axis in "zyx"[-len(places[0][0]) :]:
        axis = {"name": name_of_axis, "type": "space"}
        if unit is not None:
            axis["unit"] = unit
        axes.append(axis)
    datasets = []
    for level, (scale, translation) in enumerate(places):
        transformations = [
            {"type": "scale", "scale": [1.0, *scale]},
            {"type": "translation", "translation": [0.0, *translation]},
        ]
        datasets.append({"path": str(level), "coordinateTransformations": transformations})
    return {"name": name, "axes": axes, "datasets": datasets}


def channels_object(names: Sequence[str], colors: Sequence[RGB], *, signed: bool) -> dict[str, Any]:
    """Return NGFF's account of the channels: their names, colours, and range of values."""
    # Viewers draw a channel from black to its colour, so that what speaks against a class is hidden
    # at first.
    window = {
        "min": float(lowest_share(signed=signed)),
        "max": 1.0,
        "start": 0.0,
        "end": 1.0,
    }
    channels = []
    for name, color in zip(names, colors, strict=True):
        shown = as_hex(color)[1:].upper()
        channels.append({"label": name, "color": shown, "active": True, "window": window})
    return {"channels": channels}


def ngff_attributes(
    ngff: Ngff, multiscale: dict[str, Any], channels: dict[str, Any], own: dict[str, Any]
) -> dict[str, Any]:
    """Return a group's attributes: the image and its channels as NGFF says it, and our own."""
    if ngff == "0.4":
        image = {"multiscales": [{"version": "0.4", **multiscale}], "omero": channels}
        return image | {ATTRIBUTES: own}
    image = {"version": "0.5", "multiscales": [multiscale], "omero": channels}
    return {"ome": image, ATTRIBUTES: own}


def _spec_from(ome: Mapping[str, Any], own: Mapping[str, Any]) -> RasterSpec:
    multiscale = ome["multiscales"][0]
    ngff: Ngff = "0.5" if "version" in ome else "0.4"
    class_names, class_colors = channels_of(ome, own)
    spacing = None
    if own["spacing_um_px"] is not None:
        spacing = Spacing(*_pair(own["spacing_um_px"]))
    return RasterSpec(
        name=multiscale["name"],
        class_names=class_names,
        class_colors=class_colors,
        size=Size(*_pair(own["size"])),
        pitch=own["pitch"],
        spacing=spacing,
        origin=_pair(own["origin"]),
        signed=own.get("signed", False),
        ngff=ngff,
        attributes=without(own, PLACED),
    )


def channels_of(
    ome: Mapping[str, Any], own: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[RGB, ...]]:
    """Return the names and colours of a heatmap's classes from its attributes."""
    names = tuple(channel["label"] for channel in ome["omero"]["channels"])
    colors = tuple((red, green, blue) for red, green, blue in own["class_colors"])
    return names, colors


def without(own: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """Return what attributes hold beside ``keys``."""
    return {key: value for key, value in own.items() if key not in keys}


def _pair(values: list[_Number]) -> tuple[_Number, _Number]:
    first, second = values
    return first, second
