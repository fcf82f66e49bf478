"""OpenSlide's formats, DICOM slides among them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import openslide
from PIL import Image

from slidecam.errors import RefusedSourceError, UnreadableSourceError
from slidecam.extras import brought
from slidecam.geometry import Box, Level, LevelBox, Size, Spacing, note_on_levels, pyramid
from slidecam.pixels import GLASS, over_background
from slidecam.registry import load
from slidecam.sources import _dicom
from slidecam.sources._companions import is_front
from slidecam.sources._dicom_slide import instances_of, note_on_paths, refuse_odd
from slidecam.sources._library import decoding, decoding_associated, opening
from slidecam.sources._openslide_handle import SlideHandle, profile_of_slide, read_rgb
from slidecam.sources._probe import fingerprint_of_files
from slidecam.sources._tiff_refusals import check_generic
from slidecam.sources.overview import cells, chunk_size, overlap, window
from slidecam.sources.source import Source, SourceFacts
from slidecam.sources.spacing import spacing_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pydicom
    from numpy.typing import NDArray

    from slidecam.pixels import RGB
    from slidecam.sources._dicom_slide import SlideInstance
    from slidecam.sources._openslide_handle import Slide
    from slidecam.sources._probe import Probe
else:
    pydicom = brought("pydicom", "dicom")

_NATIVE_TILE = 256
_EXCITATION = re.compile(r";Name=([^;]+);(?:.*;)?ExcitationName=\s*[^;\s]", re.DOTALL)
_FILTERS = "hamamatsu.;NDP Shading Data"
_WHOLE = 1e-9
_UNSEEN = 1 / 300
"""Shifts below 1/256 of a pixel cairo, which draws OpenSlide's regions, rounds to none."""

_FARTHEST = 512
_ERRORS = (openslide.OpenSlideError,)
_REMEDY = "If another program opens it, export it as OME-TIFF there (QuPath: File > Export images)."
_OTHER = "Choose another reader, or none to let the content decide."


def vendor_of(probe: Probe) -> str | None:
    """Return OpenSlide's name of the format, or None if OpenSlide does not know it."""
    path = _slide_file(probe)
    if path:
        return openslide.OpenSlide.detect_format(str(path))
    return None


def check() -> str:
    """Return OpenSlide's version, for ``slidecam doctor``."""
    return f"OpenSlide {openslide.__library_version__}"


def open_slide(probe: Probe) -> Source:
    """Open a slide with OpenSlide; UnreadableSourceError if it cannot."""
    path = _slide_file(probe)
    if path is None:
        raise UnreadableSourceError(probe.given, "OpenSlide finds no local file here.", _OTHER)
    vendor = openslide.OpenSlide.detect_format(str(path))
    if vendor is None:
        raise UnreadableSourceError(probe.given, "OpenSlide does not know this format.", _OTHER)
    what = f"This is a slide of the kind {vendor}"
    instances: list[SlideInstance] = []
    if vendor == "dicom":
        with opening(probe.given, what, _REMEDY, (pydicom.errors.InvalidDicomError,)):
            instances = instances_of(_dicom.siblings(path))
        refuse_odd(probe.given, instances)
        what = f"{what}, {instances[0].encoding}"
    with opening(probe.given, what, _REMEDY, _ERRORS, refused=is_front(probe)):
        colours: tuple[str, ...] = ()
        if vendor == "generic-tiff":
            colours = check_generic(probe.given, probe.open, probe.view.slide)
        handle = SlideHandle(probe.given, lambda: openslide.OpenSlide(str(path)))
        with handle.lease() as slide:
            facts = _facts(probe, path, slide, instances)
            facts = replace(facts, readings=colours + facts.readings)
            mended = _mended(slide, instances)
            return OpenSlideSource(facts, handle, _background(slide.properties), mended)


class OpenSlideSource(Source):
    """A slide read by OpenSlide.

    ``mended`` are the levels, by index, and the associated images, by name, that OpenSlide gives as
    YCbCr.
    """

    def __init__(
        self,
        facts: SourceFacts,
        handle: SlideHandle,
        background: RGB,
        mended: frozenset[int | str] = frozenset(),
    ) -> None:
        super().__init__(facts)
        self._handle = handle
        self._background = background
        self._mended = mended

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        with decoding(self.facts.path, level, box):
            return self._handle.read(lambda slide: self._assemble(slide, level, box))

    def _assemble(self, slide: Slide, level: int, box: LevelBox) -> NDArray[np.uint8]:
        """Read ``box`` directly where level pixels begin on level-0 pixels, else from whole chunks.

        read_region() takes its corner in level-0 pixels and interpolates where that falls inside a
        pixel of the level. Where no corner near by falls on one, reading whole chunks from a fixed
        grid still gives a pixel one value in whatever box it is read.
        """
        if _is_whole(slide.level_downsamples[level]):
            return self._region(slide, level, box)
        pixels = np.empty((box.height, box.width, 3), np.uint8)
        for cell in cells(box, self.facts.chunk[level]):
            chunk = cell.clipped(self.facts.levels[level].size)
            shared = overlap(chunk, box)
            pixels[window(shared, box)] = self._region(slide, level, chunk)[window(shared, chunk)]
        return pixels

    def _region(self, slide: Slide, level: int, box: LevelBox) -> NDArray[np.uint8]:
        # OpenSlide goes by its own quotient of sizes, not by what the pyramid means.
        downsample = slide.level_downsamples[level]
        left, x = _on_whole_pixel(box.x, downsample)
        top, y = _on_whole_pixel(box.y, downsample)
        size = (box.width + left, box.height + top)
        if level in self._mended:
            pixels = self._to_rgb(slide.read_region((x, y), level, size), level)
        else:
            pixels = read_rgb(slide, (x, y), level, size, self._background)
        return pixels[top:, left:]

    def _to_rgb(self, picture: Image.Image, which: int | str) -> NDArray[np.uint8]:
        # openslide-python has already undone OpenSlide's premultiplication by alpha
        pixels = np.asarray(picture.convert("RGBA"))
        if which in self._mended:
            pixels = np.dstack([_ycbcr_to_rgb(pixels[:, :, :3]), pixels[:, :, 3]])
        return over_background(pixels, self._background)

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Return the label, macro or thumbnail; KeyError if there is none of that name."""
        if name not in self.facts.associated:
            raise KeyError(name)
        with decoding_associated(self.facts.path, name, _ERRORS):
            return self._handle.read(
                lambda slide: self._to_rgb(slide.associated_images[name], name)
            )

    def color_profile(self) -> bytes | None:
        """Return the slide's ICC profile, or None."""
        return self._handle.read(profile_of_slide)

    def close(self) -> None:
        """Release the file once nobody reads from it any more."""
        self._handle.close()


def _slide_file(probe: Probe) -> Path | None:
    """Return the file to give to OpenSlide: for a folder, a file of its only DICOM series."""
    if not probe.is_folder or probe.local is None:
        return probe.local
    series = _dicom.series_files(probe.local)
    if len(series) > 1:
        examples = ", ".join(files[0].name for files in series.values())
        problem = f"This folder holds {len(series)} DICOM series (one file of each: {examples})."
        remedy = "Pass one file of the series that you want."
        raise RefusedSourceError(probe.given, problem, remedy)
    for files in series.values():
        return files[0]
    return None


def _facts(
    probe: Probe,
    path: Path,
    slide: Slide,
    instances: Sequence[SlideInstance],
) -> SourceFacts:
    properties = slide.properties
    sizes = [Size(*size) for size in slide.level_dimensions]
    levels = pyramid(sizes, _own_spacings(sizes, instances))
    spacing, spacing_from = _spacing(properties), None
    if spacing is not None:
        spacing_from = "openslide.mpp-x"
    readings = [*note_on_levels(sizes, levels), *note_on_paths(instances)]
    readings += sorted({each.mended for each in instances} - {""})
    readings += [*_note_on_fluorescence(properties), *_note_on_planes(probe, properties)]
    if probe.is_folder:
        readings += _dicom.note_on_objects(path.parent)
    return SourceFacts(
        path=probe.given,
        name=probe.name,
        reader="openslide",
        format=properties.get("openslide.vendor", "unknown"),
        levels=levels,
        spacing=spacing,
        spacing_from=spacing_from,
        bounds=_bounds(properties),
        chunk=tuple(chunk_size(_native_tile(level, properties)) for level in levels),
        associated=tuple(sorted(slide.associated_images)),
        fingerprint=fingerprint_of_files(_files(path, properties)),
        readings=tuple(readings),
    )


def _own_spacings(
    sizes: Sequence[Size],
    instances: Sequence[SlideInstance],
) -> list[Spacing | None]:
    """Return what the levels of a DICOM slide say of their own spacing; None for other slides."""
    known: dict[Size, Spacing | None] = {}
    for each in instances:
        if each.associated is None:
            known.setdefault(each.size, each.spacing)
    return [known.get(size) for size in sizes]


def _mended(slide: Slide, instances: Sequence[SlideInstance]) -> frozenset[int | str]:
    """Return which levels and associated images OpenSlide gives as YCbCr."""
    found: set[int | str] = set()
    sizes = [Size(*size) for size in slide.level_dimensions]
    for each in instances:
        if each.mended and each.associated is not None:
            found.add(each.associated)
        elif each.mended and each.size in sizes:
            found.add(sizes.index(each.size))
    return frozenset(found)


def _note_on_fluorescence(properties: Mapping[str, str]) -> tuple[str, ...]:
    """Return the note of a Hamamatsu slide that was not seen by white light."""
    for key, value in properties.items():
        found = _EXCITATION.search(value)
        if key.startswith(_FILTERS) and found is not None:
            name = found[1].strip()
            return (f"It was scanned in fluorescence ({name}): its colours are those of no stain.",)
    return ()


def _note_on_planes(probe: Probe, properties: Mapping[str, str]) -> tuple[str, ...]:
    """Return the note of a Hamamatsu stack, of which OpenSlide knows one plane."""
    if properties.get("openslide.vendor") != "hamamatsu" or not probe.is_tiff:
        return ()
    # lazy on purpose: tifffile is loaded for TIFFs only
    planes = load("slidecam.sources._tiff_pages:focal_planes_of")(probe.open)
    if planes == 1:
        return ()
    said = f"Of its {planes} focal planes the one in focus is read (offset 0)"
    return (f"{said}; --plane reads another, by the reader tiff.",)


def _files(path: Path, properties: Mapping[str, str]) -> list[Path]:
    """Return all files that a slide is made of."""
    if properties.get("openslide.vendor") == "dicom":
        return _dicom.siblings(path)
    companion = path.with_suffix("")
    if properties.get("openslide.vendor") == "mirax" and companion.is_dir():
        return [path, *sorted(file for file in companion.iterdir() if file.is_file())]
    return [path]


def _spacing(properties: Mapping[str, str]) -> Spacing | None:
    try:
        x, y = float(properties["openslide.mpp-x"]), float(properties["openslide.mpp-y"])
    except (KeyError, ValueError):
        return None
    return spacing_of(x, y)


def _bounds(properties: Mapping[str, str]) -> Box | None:
    sides = ("x", "y", "width", "height")
    try:
        return Box(*(int(properties[f"openslide.bounds-{side}"]) for side in sides))
    except (KeyError, ValueError):
        return None


def _background(properties: Mapping[str, str]) -> RGB:
    try:
        red, green, blue = bytes.fromhex(properties["openslide.background-color"])
    except (KeyError, ValueError):
        return GLASS
    return red, green, blue


def _native_tile(level: Level, properties: Mapping[str, str]) -> Size:
    prefix = f"openslide.level[{level.index}].tile"
    width, height = (properties.get(f"{prefix}-{side}", "0") for side in ("width", "height"))
    return Size(int(width) or _NATIVE_TILE, int(height) or _NATIVE_TILE)


def _is_whole(downsample: float) -> bool:
    return abs(downsample - round(downsample)) < _WHOLE


def _on_whole_pixel(start: int, downsample: float) -> tuple[int, int]:
    """Return where to begin, so that nothing is interpolated, if that is near before ``start``.

    Parameters
    ----------
    start
        A row or column of a level.
    downsample
        OpenSlide's own of that level.

    Returns
    -------
    before
        How many rows or columns before it to begin.
    corner
        Where that is in level-0 pixels.
    """
    places = np.arange(start, max(-1, start - _FARTHEST), -1)
    corners = np.rint(places * downsample)
    off = np.abs(corners / downsample - places)
    unseen = np.flatnonzero(off < _UNSEEN)
    before = 0
    if unseen.size:
        before = int(unseen[0])
    return before, int(corners[before])


def _ycbcr_to_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels), "YCbCr").convert("RGB"))
