"""OME-Zarr 0.1 to 0.4 (zarr v2) and 0.5 (zarr v3), in a folder or behind an fsspec URL."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import RefusedSourceError, UsageError
from slidecam.geometry import LevelBox, note_on_levels, pyramid
from slidecam.pixels import GLASS, over_background, to_rgb, to_uint8
from slidecam.sources._library import (
    DECODING_ERRORS,
    closed,
    decoding,
    decoding_associated,
    opening,
)
from slidecam.sources._ngff import COMPLETE, EXPORT, believed_spacings
from slidecam.sources._ngff_images import associated_images, find_images, without_warnings
from slidecam.sources._probe import DIGITS
from slidecam.sources._ranges import BITS, Range, note_on_bits, range_of, samples_of, say_if_dark
from slidecam.sources.channels import MOST_CHANNELS, Channel, choose_channels, note_on_display
from slidecam.sources.images import FileImage, choose_image, offering_others
from slidecam.sources.overview import chunk_size
from slidecam.sources.source import Source, SourceFacts
from slidecam.viewing import AS_THE_FILE_SAYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.sources._ngff_images import StoredImage, StoredImages, StoredLevel
    from slidecam.sources._probe import Probe
    from slidecam.viewing import PictureView

_IN_COLOUR = ("b1", "u1", "u2")
"""Kinds and bytes of samples that can be shown, in either byte order."""

_STACKED = (("z", "plane", "Plane"), ("t", "time", "Point in time"))
"""Axes along which one place is chosen: the field of `PictureView`, and how a sentence begins."""

_WITH_ALPHA = 4
_LARGEST_ASSOCIATED = 4096
"""Pixels along the longer side up to which a label or macro is shown, at its finest such level."""

_SAMPLES = 8
_SAMPLE_EDGE = 256


@dataclass(frozen=True)
class Image:
    """One picture of a multiscale image: its levels, finest first, and what of them is read.

    Attributes
    ----------
    levels
        At least one, all of the same planes and channels.
    places
        Where along each axis but y, x and c it lies.
    channels
        Which channels are read: one is grey, three are red, green and blue, and a fourth is alpha.
    readings
        What was chosen of it.
    limits
        Samples that are black and white; None for the range of their bits.
    """

    levels: tuple[StoredLevel, ...]
    places: Mapping[str, int]
    channels: tuple[int, ...]
    readings: tuple[str, ...]
    limits: tuple[float, float] | None = None

    @property
    def full(self) -> StoredLevel:
        """The finest level."""
        return self.levels[0]

    @property
    def bits(self) -> int:
        """Bits of a sample."""
        return self.full.bits

    @property
    def takes_window(self) -> bool:
        """Whether a window can say which samples are black and white."""
        return self.bits > BITS and len(self.channels) < _WITH_ALPHA

    def read(self, level: int, box: LevelBox) -> NDArray[np.generic]:
        """Return ``box`` of the channels that are read, as stored, (height, width, channels)."""
        stored, wanted = self.levels[level], sorted(set(self.channels))
        places: dict[str, Any] = {
            **self.places,
            "y": slice(box.y, box.bottom),
            "x": slice(box.x, box.right),
            "c": slice(None),
        }
        view: Any = stored.array
        if len(wanted) < stored.length("c"):
            # Only the chunks of these channels are decoded.
            places["c"], view = wanted, stored.array.oindex
        pixels = np.asarray(view[tuple(map(places.get, stored.axes))])
        kept = list(filter("yxc".__contains__, stored.axes))
        if "c" not in kept:
            pixels, kept = pixels[..., np.newaxis], [*kept, "c"]
        pixels = pixels.transpose(list(map(kept.index, "yxc")))
        if list(self.channels) == wanted:
            return pixels
        return np.take(pixels, list(map(wanted.index, self.channels)), axis=2)

    def shown(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        """Return ``box`` in RGB; what is transparent lies on white."""
        pixels = self.read(level, box)
        samples = to_uint8(pixels, self.bits, self.limits)
        if samples.shape[2] == _WITH_ALPHA:
            return over_background(samples, GLASS)
        return to_rgb(samples)


def open_slide(probe: Probe) -> Source:
    """Open an OME-Zarr image.

    UnreadableSourceError if it is none, or none that can be shown as RGB.
    """
    with without_warnings(), opening(probe.given, "This is a Zarr folder", COMPLETE):
        found = find_images(probe)
        listed, chosen, readings = _choose(probe, found)
        with offering_others(listed):
            image = _image(probe.given, chosen, probe.view.slide)
        facts = _facts(probe, chosen.multiscale.version, image)
        others = associated_images(found.images, listed)
        offers = set(_offers(image))
        if found.plate or listed:
            offers.add("image")
        facts = replace(
            facts,
            associated=tuple(sorted(others)),
            readings=(*readings, *facts.readings),
            images=listed,
            offers=frozenset(offers),
        )
        shown = _range(probe, image)
        if shown is not None:
            image = replace(image, limits=shown.limits)
            return OmeZarrSource(shown.put_into(facts), image, others)
        source = OmeZarrSource(facts, image, others)
        if image.bits > BITS:
            say_if_dark(source)
        return source


def _range(probe: Probe, image: Image) -> Range | None:
    """Return which samples are black and white, found on the coarsest level for all."""
    if not image.takes_window:
        return None
    last = len(image.levels) - 1
    samples = samples_of(image.levels[last].size, partial(image.read, last))
    return range_of(probe.given, samples, image.bits, probe.view, grey=len(image.channels) == 1)


class OmeZarrSource(Source):
    """A multiscale image read with zarr, which may be read from any thread.

    Grey becomes RGB, 16 bit is scaled from its full range to 8, and what is transparent lies on
    white.
    """

    def __init__(
        self,
        facts: SourceFacts,
        image: Image,
        associated: Mapping[str, StoredImage],
    ) -> None:
        super().__init__(facts)
        self._image: Image | None = image
        self._associated = associated
        self._lock = Lock()

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        with self._lock:
            image = self._image
        if image is None:
            raise closed(self.facts.path)
        with decoding(self.facts.path, level, box):
            return image.shown(level, box)

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Return the label, macro or thumbnail; KeyError if there is none of that name."""
        stored = self._associated[name]
        with decoding_associated(self.facts.path, name):
            image = _image(self.facts.path, stored, AS_THE_FILE_SAYS)
            level = _shown_level(image)
            size = image.levels[level].size
            return image.shown(level, LevelBox(0, 0, size.width, size.height))

    def close(self) -> None:
        """Let the store go."""
        with self._lock:
            self._image = None


def _shown_level(image: Image) -> int:
    """Return the finest level of a label or macro that is no larger than people look at."""
    for index, level in enumerate(image.levels):
        if max(level.length("x"), level.length("y")) <= _LARGEST_ASSOCIATED:
            return index
    return len(image.levels) - 1


def _choose(
    probe: Probe,
    found: StoredImages,
) -> tuple[tuple[FileImage, ...], StoredImage, tuple[str, ...]]:
    """Return the images to choose from (none where there is but one), the chosen one, and why."""
    path, stored = probe.given, found.images
    if found.plate or len(stored) == 1:
        return (), stored[0], found.readings
    images = [
        FileImage(number, each.name, each.size(path)) for number, each in enumerate(stored, 1)
    ]
    listed, chosen, readings = choose_image(path, images, probe.view.slide.image)
    return listed, stored[chosen.number - 1], readings


def _image(path: str, stored: StoredImage, view: PictureView) -> Image:
    """Return what is read of a stored image; an error where it may not be shown as RGB."""
    multiscale = stored.multiscale
    axes = multiscale.axes
    if not {"y", "x"} <= set(axes):
        problem = f"The axes are {', '.join(axes)}, without y and x."
        raise RefusedSourceError(path, problem, EXPORT)
    listed = stored.levels(path)
    levels = sorted(listed, key=attrgetter("pixels"), reverse=True)
    full, readings = levels[0], list(multiscale.readings)
    if levels != listed:
        readings.append("Its levels are not listed from the finest to the coarsest, but read so.")
    kind = full.stack, full.array.dtype
    kept = tuple(level for level in levels if (level.stack, level.array.dtype) == kind)
    if len(kept) < len(levels):
        left = f"Left out of its {len(levels)} levels: {len(levels) - len(kept)}, for fewer planes"
        readings.append(f"{left} or channels or samples of another type than the finest has.")
    if full.array.dtype.str[1:] not in _IN_COLOUR:
        problem = f"The pixels are {full.array.dtype}, not 8 or 16 bit without sign."
        remedy = "Export it as RGB with values from 0 to 255, or to 65535, and use that."
        raise RefusedSourceError(path, problem, remedy)
    places, of_place = _places(path, full, view)
    channels, of_channels = _channels(path, stored, full, view)
    image = Image(kept, places, channels, (*readings, *of_place, *of_channels))
    if len(channels) == _WITH_ALPHA and _hides_all(image):
        said = f"Channel {channels[-1] + 1}, its transparency, is 0 everywhere and left out"
        readings = [*image.readings, f"{said}: its colours are shown."]
        return replace(image, channels=channels[:-1], readings=tuple(readings))
    return image


def _hides_all(image: Image) -> bool:
    """Whether the alpha is one that a writer left empty, by the coarsest level."""
    edge = 8 * _SAMPLE_EDGE
    box = LevelBox(0, 0, edge, edge).clipped(image.levels[-1].size)
    try:
        pixels = image.read(len(image.levels) - 1, box)
    except DECODING_ERRORS:
        return False  # reading it says so
    return not pixels[:, :, 3].any() and bool(np.ptp(pixels[:, :, :3]) > 0)


def _places(
    path: str,
    full: StoredLevel,
    view: PictureView,
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return where along the axes of a stack the picture lies that was asked for."""
    unchosen = full.stack
    unchosen.pop("c", None)
    places = dict.fromkeys(unchosen, 0)
    readings: list[str] = []
    options: list[str] = []
    for axis, field, what in _STACKED:
        length, wanted = full.length(axis), getattr(view, field)
        if length == 1:
            continue
        options.append(f"--{field} 1 to {length}")
        if wanted is None:
            continue
        if wanted > length:
            problem = f"There is no {field} {wanted}: it has {length}."
            raise UsageError(problem, f"Pass --{field} with a number up to {length}.", path)
        places[axis], unchosen[axis] = wanted - 1, 1
        said = f"{what} {wanted} of {length} is read, as was asked for"
        readings.append(f"{said}; --{field} reads another.")
    stacked = {axis: length for axis, length in unchosen.items() if length > 1}
    if stacked:
        lengths = ", ".join(map("{0[0]}={0[1]}".format, stacked.items()))
        problem = f"This is a stack of planes ({lengths}), not one picture."
        remedy = EXPORT
        if options and stacked.keys() <= {"z", "t"}:
            remedy = f"Pass {' and '.join(options)} to read one of them. Or: {EXPORT}"
        raise RefusedSourceError(path, problem, remedy)
    return places, tuple(readings)


def _channels(
    path: str,
    stored: StoredImage,
    full: StoredLevel,
    view: PictureView,
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    length, bits = full.length("c"), full.bits
    said: Sequence[Channel] = stored.multiscale.channels
    if length > MOST_CHANNELS:
        problem = f"It counts {length:,} channels, which no picture has."
        raise RefusedSourceError(path, problem, EXPORT)
    if len(said) != length:
        said = [Channel()] * length
    if length == 1 and view.channels:
        return (0,), ()  # that nothing is to choose is said by whoever opens it
    indices, readings = choose_channels(path, said, view.channels)
    return indices, readings + note_on_display(said, indices, bits)


def _offers(image: Image) -> Iterator[str]:
    """Yield the fields of `PictureView` by which another picture of it would be read."""
    for axis, field, _ in _STACKED:
        if image.full.length(axis) > 1:
            yield field
    if image.full.length("c") > 1:
        yield "channels"
    if image.takes_window:
        yield "window"


def _facts(probe: Probe, version: str, image: Image) -> SourceFacts:
    sizes = [level.size for level in image.levels]
    chunks = [level.chunk for level in image.levels]
    said = [level.raw_spacing for level in image.levels]
    believed, doubts = believed_spacings(sizes, chunks, said)
    levels = pyramid(sizes, believed)
    spacing, spacing_from = image.full.spacing, None
    if spacing is not None:
        spacing_from = "OME-Zarr scale"
    return SourceFacts(
        path=probe.given,
        name=probe.name,
        reader="ome-zarr",
        format=f"ome-zarr {version}",
        levels=levels,
        spacing=spacing,
        spacing_from=spacing_from,
        bounds=None,
        chunk=tuple(map(chunk_size, chunks)),
        associated=(),
        fingerprint=_fingerprint(image),
        readings=(
            *image.readings,
            *note_on_bits(image.bits),
            *doubts,
            *note_on_levels(sizes, levels),
        ),
    )


def _fingerprint(image: Image) -> str:
    """Return a digest of shapes and of pixels of what is read.

    Listing 100 000 chunks of a remote store would take minutes.
    """
    arrays = [level.array for level in image.levels]
    shapes = [[*map(int, array.shape), str(array.dtype)] for array in arrays]
    digest = hashlib.sha256(json.dumps([image.full.axes, shapes]).encode())
    edge, coarsest = 4 * _SAMPLE_EDGE, image.levels[-1].size
    box = LevelBox(0, 0, edge, edge).clipped(coarsest)
    digest.update(_sample(image, len(arrays) - 1, box))
    size = image.full.size
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
