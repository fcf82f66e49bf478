"""OME-Zarr 0.4 (zarr v2) and 0.5 (zarr v3), in a folder or behind an fsspec URL."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import numpy as np
import zarr
from zarr.storage import FsspecStore, LocalStore

from slidecam.errors import UnreadableSourceError
from slidecam.geometry import LevelBox, Size, Spacing, pyramid
from slidecam.pixels import to_rgb, to_uint8
from slidecam.sources._chunks import chunk_size
from slidecam.sources._library import DECODING_ERRORS, closed, decoding, opening
from slidecam.sources._probe import DIGITS, without_query
from slidecam.sources.source import Source, SourceFacts, note_on_bits
from slidecam.sources.spacing import MICROMETRES, spacing_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.sources._probe import Probe

_REMEDY = "Check that it is an OME-Zarr image of version 0.4 or 0.5, and that all of it was copied."
_EXPORT = "Export one plane as RGB (channels red, green and blue) and use that."
_CHANNELS = {1, 3}
_SAMPLES = 8
_SAMPLE_EDGE = 256


@dataclass(frozen=True)
class Image:
    """One multiscale image: its arrays, finest first, the names of their axes, and its spacing."""

    arrays: tuple[zarr.Array[Any], ...]
    axes: tuple[str, ...]
    version: str
    spacing: Spacing | None

    def length(self, axis: str) -> int:
        """Return the length of an axis in the finest array; 1 for an axis that is not there."""
        if axis in self.axes:
            return int(self.arrays[0].shape[self.axes.index(axis)])
        return 1

    def size(self, level: int) -> Size:
        """Return width and height of a level."""
        shape = self.arrays[level].shape
        return Size(int(shape[self.axes.index("x")]), int(shape[self.axes.index("y")]))

    def native(self, level: int) -> Size:
        """Return width and height of a stored chunk."""
        chunks = self.arrays[level].chunks
        return Size(int(chunks[self.axes.index("x")]), int(chunks[self.axes.index("y")]))

    def read(self, level: int, box: LevelBox) -> NDArray[np.generic]:
        """Return ``box`` as stored, (height, width, channels)."""
        places = {
            "y": slice(box.y, box.bottom),
            "x": slice(box.x, box.right),
            "c": slice(None),
        }
        pixels = np.asarray(self.arrays[level][tuple(places.get(axis, 0) for axis in self.axes)])
        kept = [axis for axis in self.axes if axis in places]
        if "c" not in kept:
            pixels, kept = pixels[..., np.newaxis], [*kept, "c"]
        return pixels.transpose(list(map(kept.index, "yxc")))


def open_slide(probe: Probe) -> Source:
    """Open an OME-Zarr image.

    UnreadableSourceError if it is none, or none that can be shown as RGB.
    """
    with opening(probe.given, "This is a Zarr folder", _REMEDY):
        group = zarr.open_group(_store(probe), mode="r")
        image = _image(probe, group)
        _check(probe, image)
        return OmeZarrSource(_facts(probe, image), image)


class OmeZarrSource(Source):
    """A multiscale image read with zarr, which may be read from any thread.

    Grey becomes RGB, 16 bit is scaled from its full range to 8, and three channels are red, green
    and blue.
    """

    def __init__(self, facts: SourceFacts, image: Image) -> None:
        super().__init__(facts)
        self._image: Image | None = image
        self._lock = Lock()

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        with self._lock:
            image = self._image
        if image is None:
            raise closed(self.facts.path)
        with decoding(self.facts.path, level, box):
            pixels = image.read(level, box)
        return to_rgb(to_uint8(pixels, _bits(pixels.dtype)))

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Raise KeyError: OME-Zarr has no associated images."""
        raise KeyError(name)

    def close(self) -> None:
        """Let the store go."""
        with self._lock:
            self._image = None


def _store(probe: Probe) -> LocalStore | FsspecStore:
    if probe.local is not None:
        return LocalStore(probe.local, read_only=True)
    url, query = without_query(probe.given)
    options = {}
    if query:
        # A token in the query opens each of the folder's files.
        options["params"] = tuple(parse_qsl(query, keep_blank_values=True))
    return FsspecStore.from_url(url.rstrip("/"), options, read_only=True)


def _image(probe: Probe, group: zarr.Group) -> Image:
    """Return the image of a group, or the first one of a bioformats2raw collection."""
    attributes = _ome(group)
    if "plate" in attributes:
        remedy = "Pass one image of it, for example PLATE.zarr/A/1/0."
        raise UnreadableSourceError(probe.given, "This OME-Zarr is a plate of many images.", remedy)
    if "bioformats2raw.layout" in attributes and "multiscales" not in attributes:
        group = _child(probe, group, "0", zarr.Group)
        attributes = _ome(group)
    if not attributes.get("multiscales"):
        problem = "This Zarr has no OME-Zarr multiscales metadata."
        raise UnreadableSourceError(probe.given, problem, _REMEDY)
    scale = attributes["multiscales"][0]
    axes = tuple(_axis(axis)["name"] for axis in scale["axes"])
    paths = [dataset["path"] for dataset in scale["datasets"]]
    return Image(
        arrays=tuple(_child(probe, group, path, zarr.Array) for path in paths),
        axes=axes,
        version=str(attributes.get("version") or scale.get("version") or "0.4"),
        spacing=_spacing(scale, axes),
    )


def _axis(axis: Mapping[str, str] | str) -> Mapping[str, str]:
    """Return an axis with its name and maybe its unit; the first versions gave the name alone."""
    if isinstance(axis, str):
        return {"name": axis}
    return axis


def _ome(group: zarr.Group) -> Mapping[str, Any]:
    """Return the OME metadata: under "ome" since 0.5, at the top before."""
    attributes: Mapping[str, Any] = group.attrs.asdict()
    newer: Mapping[str, Any] | None = attributes.get("ome")
    if newer is None:
        return attributes
    return newer


def _child(probe: Probe, group: zarr.Group, path: str, kind: type[Any]) -> Any:  # noqa: ANN401 - array or group
    child = group.get(path)
    if not isinstance(child, kind):
        problem = f"There is no {kind.__name__.lower()} {path!r}, which its metadata name."
        raise UnreadableSourceError(probe.given, problem, _REMEDY)
    return child


def _check(probe: Probe, image: Image) -> None:
    """Raise where the pixels are none that can honestly be shown as RGB."""
    others = [axis for axis in image.axes if axis not in "yxc"]
    stacked = [f"{axis}={image.length(axis)}" for axis in others if image.length(axis) > 1]
    problem = None
    if not {"y", "x"} <= set(image.axes):
        problem = f"The axes are {', '.join(image.axes)}, without y and x."
    elif stacked:
        problem = f"This is a stack of planes ({', '.join(stacked)}), not one picture."
    elif image.length("c") not in _CHANNELS:
        channels = image.length("c")
        problem = f"Which of its {channels} channels are red, green and blue is not said."
    elif image.arrays[0].dtype not in (np.uint8, np.uint16, np.bool_):
        problem = f"The pixels are {image.arrays[0].dtype}, not 8 or 16 bit without sign."
    if problem:
        raise UnreadableSourceError(probe.given, problem, _EXPORT)


def _spacing(scale: Mapping[str, Any], axes: Sequence[str]) -> Spacing | None:
    """Return µm per pixel of the first dataset, or None where the x or y axis names no unit."""
    factors = [1.0] * len(axes)
    for part in (scale["datasets"][0], scale):
        for transform in part.get("coordinateTransformations") or ():
            if transform["type"] == "scale":
                pairs = zip(factors, transform["scale"], strict=True)
                factors = [one * float(other) for one, other in pairs]
    units = {axis["name"]: axis.get("unit", "") for axis in map(_axis, scale["axes"])}
    lengths: list[float] = []
    for axis in "xy":
        if units.get(axis) not in MICROMETRES:
            return None
        lengths.append(factors[axes.index(axis)] * MICROMETRES[units[axis]])
    return spacing_of(*lengths)


def _facts(probe: Probe, image: Image) -> SourceFacts:
    sizes = list(map(image.size, range(len(image.arrays))))
    spacing_from = None
    if image.spacing is not None:
        spacing_from = "OME-Zarr scale"
    return SourceFacts(
        path=probe.given,
        name=probe.name,
        reader="ome-zarr",
        format=f"ome-zarr {image.version}",
        levels=pyramid(sizes),
        spacing=image.spacing,
        spacing_from=spacing_from,
        bounds=None,
        chunk=tuple(chunk_size(image.native(index)) for index in range(len(sizes))),
        associated=(),
        fingerprint=_fingerprint(image),
        readings=note_on_bits(_bits(image.arrays[0].dtype)),
    )


def _fingerprint(image: Image) -> str:
    """Return a digest of shapes and pixels.

    Listing 100 000 chunks of a remote store would take minutes.
    """
    shapes = [[*map(int, array.shape), str(array.dtype)] for array in image.arrays]
    digest = hashlib.sha256(json.dumps([image.axes, shapes]).encode())
    last = len(image.arrays) - 1
    edge = 4 * _SAMPLE_EDGE
    digest.update(_sample(image, last, LevelBox(0, 0, edge, edge).clipped(image.size(last))))
    size = image.size(0)
    for index in range(_SAMPLES):
        x = (size.width - _SAMPLE_EDGE) * index // (_SAMPLES - 1)
        y = (size.height - _SAMPLE_EDGE) * index // (_SAMPLES - 1)
        box = LevelBox(x, y, _SAMPLE_EDGE, _SAMPLE_EDGE).clipped(size)
        digest.update(_sample(image, 0, box))
    return digest.hexdigest()[:DIGITS]


def _sample(image: Image, level: int, box: LevelBox) -> bytes:
    """Return pixels for the digest.

    What cannot be decoded counts as nothing, and reading it will say so.
    """
    try:
        return np.ascontiguousarray(image.read(level, box)).tobytes()
    except DECODING_ERRORS:
        return b""


def _bits(dtype: np.dtype[Any]) -> int:
    if dtype.kind == "b":
        return 1
    return 8 * dtype.itemsize
