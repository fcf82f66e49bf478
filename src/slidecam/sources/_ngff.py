"""What the metadata of an OME-Zarr say: its axes, levels, channels and names, versions 0.1 to 0.5.

Versions 0.1 and 0.2 wrote no axes, and 0.3 only their names: https://ngff.openmicroscopy.org.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slidecam.errors import RefusedSourceError, UnreadableSourceError
from slidecam.parsing import ParseError, xml_of
from slidecam.sources.channels import Channel, color_of_hex
from slidecam.sources.spacing import MICROMETRES, spacing_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slidecam.geometry import Size, Spacing

COMPLETE = "Check that it is an OME-Zarr of version 0.1 to 0.5, and that all of it was copied."
EXPORT = "Export one plane as RGB (channels red, green and blue) and use that."

_WITHOUT_AXES = ("0.1", "0.2")
_FIVE = ("t", "c", "z", "y", "x")
"""The axes of every image before version 0.3."""

_ROUNDED = 2.0
"""Pixels by which a level's size may differ from what its spacing says: cut at every halving."""


@dataclass(frozen=True)
class ListedLevel:
    """One level of a multiscale image.

    Attributes
    ----------
    path
        Of its array, below the image's group.
    scale
        Lengths of a pixel along the axes, in their units; None where it does not say.
    """

    path: str
    scale: tuple[float, ...] | None


@dataclass(frozen=True)
class Multiscale:
    """One multiscale image, as its metadata describe it.

    Attributes
    ----------
    name
        What it is called; empty where it is not.
    version
        Of OME-Zarr.
    axes, units
        Name of each axis, and its unit where it has one.
    datasets
        Its levels, in the order in which they are listed.
    channels
        What is said of its channels; empty where nothing is.
    readings
        What had to be assumed of it.
    """

    name: str
    version: str
    axes: tuple[str, ...]
    units: tuple[str, ...]
    datasets: tuple[ListedLevel, ...]
    channels: tuple[Channel, ...]
    readings: tuple[str, ...] = ()

    def raw_spacing(self, dataset: ListedLevel) -> Spacing | None:
        """Return width and height of a level's pixel in whatever unit; None where none is said."""
        if dataset.scale is None:
            return None
        x = dataset.scale[self.axes.index("x")]
        y = dataset.scale[self.axes.index("y")]
        return spacing_of(x, y)

    def spacing(self, dataset: ListedLevel) -> Spacing | None:
        """Return µm per pixel of a level, or None where the x or y axis names no unit."""
        raw = self.raw_spacing(dataset)
        x = self.units[self.axes.index("x")]
        y = self.units[self.axes.index("y")]
        if raw is None or not {x, y} <= MICROMETRES.keys():
            return None
        return spacing_of(raw.x * MICROMETRES[x], raw.y * MICROMETRES[y])


def ome_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OME metadata of a group: under "ome" since 0.5, at the top before."""
    newer: Mapping[str, Any] | None = attributes.get("ome")
    if newer is None:
        return attributes
    return newer


def multiscales_of(path: str, ome: Mapping[str, Any]) -> tuple[Multiscale, ...]:
    """Return the multiscale images of a group; of most there is one.

    Parameters
    ----------
    path
        The slide, for messages.
    ome
        The group's OME metadata.

    Raises
    ------
    UnreadableSourceError
        If they are of a version that is not known, or name no arrays.
    """
    channels = tuple(_channels(ome.get("omero") or {}))
    version = str(ome.get("version") or "")
    return tuple(
        _multiscale(path, scale, version, channels) for scale in ome.get("multiscales") or ()
    )


def _multiscale(
    path: str,
    scale: Mapping[str, Any],
    version: str,
    channels: tuple[Channel, ...],
) -> Multiscale:
    version = version or str(scale.get("version") or "")
    if "coordinateSystems" in scale:
        named = version or "of a later version"
        problem = f"This is OME-Zarr {named}, whose axes are written in a way not known here."
        raise RefusedSourceError(path, problem, "Convert it to OME-Zarr 0.4 or 0.5.")
    readings: tuple[str, ...] = ()
    axes: Sequence[Mapping[str, str] | str] = scale.get("axes") or ()
    if not axes:
        axes = _FIVE
        if version not in _WITHOUT_AXES:
            readings = (
                "Its metadata name no axes: they are taken as t, c, z, y and x, as before 0.3.",
            )
    if not scale["datasets"]:
        raise UnreadableSourceError(path, "Its metadata name no arrays.", COMPLETE)
    names, units = zip(*map(_axis, axes), strict=True)
    datasets = tuple(_dataset(part, scale) for part in scale["datasets"])
    for dataset in datasets:
        if dataset.scale is not None and len(dataset.scale) != len(names):
            problem = f"Its metadata give {len(dataset.scale)} scales for {len(names)} axes."
            raise UnreadableSourceError(path, problem, COMPLETE)
    return Multiscale(
        name=str(scale.get("name") or ""),
        version=version or "0.4",
        axes=names,
        units=units,
        datasets=datasets,
        channels=channels,
        readings=readings,
    )


def _axis(axis: Mapping[str, str] | str) -> tuple[str, str]:
    """Return an axis's name, and its unit or nothing; version 0.3 gave the name alone."""
    if isinstance(axis, str):
        return axis, ""
    return axis["name"], axis.get("unit") or ""


def _dataset(dataset: Mapping[str, Any], scale: Mapping[str, Any]) -> ListedLevel:
    """Return a level; the scale of the whole image counts for each of them."""
    factors: list[float] = []
    for part in (dataset, scale):
        for transform in part.get("coordinateTransformations") or ():
            # The specification lets a file of its own hold the numbers; no writer is known.
            given = transform.get("scale")
            if transform["type"] == "scale" and given:
                pairs = zip(factors or [1.0] * len(given), given, strict=True)
                factors = [one * float(other) for one, other in pairs]
    return ListedLevel(dataset["path"], tuple(factors) or None)


def _channels(omero: Mapping[str, Any]) -> Iterator[Channel]:
    for channel in omero.get("channels") or ():
        name = str(channel.get("label") or channel.get("name") or "")
        inverted = channel.get("inverted") is True
        yield Channel(name, color_of_hex(channel.get("color")), inverted, _window_end(channel))


def _window_end(channel: Mapping[str, Any]) -> float | None:
    try:
        return float(channel["window"]["end"])
    except (KeyError, TypeError, ValueError):
        return None


def names_in_xml(text: bytes) -> list[str]:
    """Return the names of the images in OME-XML, in its order; none where it is broken."""
    try:
        root = xml_of(text)
    except ParseError:
        return []
    images = [each for each in root.iter() if each.tag.endswith("}Image")]
    return [each.get("Name") or "" for each in images]


def believed_spacings(
    sizes: Sequence[Size],
    chunks: Sequence[Size],
    spacings: Sequence[Spacing | None],
) -> tuple[tuple[Spacing | None, ...], tuple[str, ...]]:
    """Return the levels' own spacings where their sizes bear them out, and what to say of others.

    Writers pad levels to whole chunks, which sizes alone do not tell from another downsample; and
    some write the same spacing for every level, which no size bears out.

    Parameters
    ----------
    sizes, chunks
        Width and height of each level, finest first, and of its stored chunks.
    spacings
        Of a pixel of each level, in one unit; None where that is not said.
    """
    believed: list[Spacing | None] = []
    doubted: list[str] = []
    full, finest = sizes[0], spacings[0]
    for index, spacing in enumerate(spacings):
        size, chunk = sizes[index], chunks[index]
        if spacing is None or finest is None:
            believed.append(None)
            continue
        fits_x = _fits(full.width, size.width, chunk.width, spacing.x / finest.x)
        fits_y = _fits(full.height, size.height, chunk.height, spacing.y / finest.y)
        if fits_x and fits_y:
            believed.append(spacing)
        else:
            believed.append(None)
            doubted.append(f"level {index} is {size.width}x{size.height} px")
    if not doubted:
        return tuple(believed), ()
    said = f"The scales in its metadata do not fit the sizes of its levels ({'; '.join(doubted)})"
    return tuple(believed), (f"{said}: downsamples are taken from the sizes.",)


def _fits(full: int, length: int, chunk: int, downsample: float) -> bool:
    """Whether a level is as long as its downsample says, or padded to whole chunks."""
    beyond = length - full / downsample
    padded = length % chunk == 0 and 0 <= beyond < chunk
    return padded or abs(beyond) <= _ROUNDED
