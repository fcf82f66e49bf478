"""Masks and annotations on disk: GeoJSON or PNG, and which file belongs to which slide."""

from __future__ import annotations

import struct
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from slidecam.errors import MaskError, UsageError
from slidecam.files import replacing
from slidecam.foreground.annotations import (
    EXPORT_AGAIN,
    extent_of,
    moved_area,
    pixel_of,
    rasterise,
    tissue_of,
)
from slidecam.foreground.mask import Foreground
from slidecam.parsing import ParseError, json_of, only_member, unpacked
from slidecam.sources.discovery import find_slides
from slidecam.sources.names import names_of, refuse_shared_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from slidecam.foreground.annotations import Area
    from slidecam.geometry import Size
    from slidecam.sources.names import FoundSlide
    from slidecam.sources.source import SourceFacts


PNG = b"\x89PNG\r\n\x1a\n"
GZIP = b"\x1f\x8b"
ZIP = b"PK\x03\x04"

MOST_PIXELS = 2**26
"""Largest PNG mask, in pixels: 8192 x 8192."""

ASPECT = 0.02
"""How far a mask's aspect ratio may be from its slide's, beyond the rounding to whole pixels."""


def load_foreground(
    path: str | Path,
    size: Size,
    offset: tuple[float, float] = (0.0, 0.0),
) -> Foreground:
    """Read a mask of the user's own, GeoJSON or PNG by its content.

    Parameters
    ----------
    path
        GeoJSON in level-0 pixels, as QuPath exports it (plain, gzipped or zipped), or a PNG over
        the whole slide in which all that is neither 0 nor transparent is tissue. A PNG may be of
        any size that has the slide's aspect ratio; one that is 0 everywhere is an empty foreground.
        Of a GeoJSON, classes that QuPath sets apart are no tissue, and ``Ignore*`` is cut out.
    size
        Width and height of the slide's level 0.
    offset
        x, y in level-0 pixels that are added to the coordinates of a GeoJSON: the corner of
        `SourceFacts.bounds` where QuPath showed the slide cropped to its bounds. A file of our
        QuPath scripts says itself what QuPath showed (see `offset_of`).

    Raises
    ------
    MaskError
        If the file is not there, damaged, neither of the two, without any area on the slide, or of
        another shape than the slide.
    """
    path = Path(path)
    return foreground_in(path, read_content(path), size, offset)


def foreground_in(
    path: Path,
    content: bytes,
    size: Size,
    offset: tuple[float, float] = (0.0, 0.0),
) -> Foreground:
    """Return the mask that some bytes are, which errors call ``path``; see `load_foreground`."""
    readings: tuple[str, ...] = ()
    if content.startswith(PNG):
        mask = _png(path, content, size)
    elif content.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"["):
        mask, readings = _geojson(path, content, size, offset)
    else:
        raise MaskError(
            f"This is neither GeoJSON nor PNG, of {len(content)} bytes.",
            "Give a GeoJSON of areas, as QuPath exports it, or a PNG in which tissue is not 0.",
            path,
        )
    return Foreground(mask, size, f"file {path.name}", readings=readings)


def save_foreground(foreground: Foreground, path: str | Path) -> None:
    """Write the mask as a black and white PNG, all or nothing.

    `load_foreground` gives the same mask back.

    Raises
    ------
    MaskError
        If the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.stat()  # a folder that is not there is a slip of the pen, and is not made
        with replacing(path) as fresh:
            Image.fromarray(foreground.mask).save(fresh, format="PNG")
    except OSError as error:
        raise MaskError(
            f"The mask cannot be written: {error}.",
            "Give a folder that exists and has room.",
            path,
        ) from error


def read_content(path: Path) -> bytes:
    """Return the bytes of a file, unpacked if it is packed; MaskError if it cannot be read."""
    try:
        content = path.read_bytes()
        if content.startswith(GZIP):
            return unpacked(content)
        if content.startswith(ZIP):
            return only_member(content)
    except (OSError, ParseError) as error:
        raise MaskError(
            f"The mask cannot be read: {error}.",
            "Check the path, and that the file is whole.",
            path,
        ) from error
    return content


def text_of(path: Path, content: bytes) -> str:
    """Return the text of a GeoJSON; MaskError if it is not UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MaskError(f"The text is not UTF-8: {error}.", EXPORT_AGAIN, path) from error


def offset_of(
    path: Path,
    content: bytes,
    size: Size,
    corner: tuple[float, float],
) -> tuple[float, float]:
    """Return what to add to the coordinates of a GeoJSON.

    ``corner``, unless the file was drawn on the whole slide.

    QuPath shows a slide cropped to its scanned bounds, but not with ``--no-crop`` and not by every
    reader. Our QuPath scripts therefore write how large it was shown: ``{"slidecam": {"image":
    {"size_px": [width, height]}}, …}``.

    Parameters
    ----------
    path, content
        The file, and its bytes.
    size
        Width and height of the slide's level 0.
    corner
        Corner of the scanned bounds in level-0 pixels.

    Raises
    ------
    MaskError
        If it was drawn on something that does not fit the slide.
    """
    shown = _shown_size(content)
    if shown is None:
        return corner
    if shown == (size.width, size.height):
        return (0.0, 0.0)
    if (
        corner == (0.0, 0.0)
        or corner[0] + shown[0] > size.width
        or corner[1] + shown[1] > size.height
    ):
        raise MaskError(
            f"It was drawn on an image of {shown[0]} x {shown[1]} px, and the slide has "
            f"{size.width} x {size.height} px.",
            "Give the annotations of this slide, drawn on it neither cropped nor rotated nor at"
            " another resolution.",
            path,
        )
    return corner


def _shown_size(content: bytes) -> tuple[int, int] | None:
    if b'"slidecam"' not in content:  # spares a second parsing of what other programs wrote
        return None
    try:
        width, height = json_of(content)["slidecam"]["image"]["size_px"]
        return int(width), int(height)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError):
        return None


def _geojson(
    path: Path,
    content: bytes,
    size: Size,
    offset: tuple[float, float],
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return where a GeoJSON says that there is tissue, and what was decided about it."""
    drawn = tissue_of(path, text_of(path, content))
    corner = np.asarray(offset_of(path, content, size, offset), np.float64)
    areas = [moved_area(area, corner) for area in drawn.areas]
    ignored = [moved_area(area, corner) for area in drawn.ignored]
    pixel = pixel_of([*areas, *ignored], size)
    mask = rasterise(areas, size, pixel)
    if not mask.any():
        raise off_the_slide(path, areas, size)
    mask &= ~rasterise(ignored, size, pixel)
    return mask, (*drawn.notes, *words_off_the_slide(path, areas, size))


def words_off_the_slide(path: Path, areas: Sequence[Area], size: Size) -> Iterator[str]:
    """Yield a sentence on areas that lie off a slide of ``size``, where there are some."""
    off = sum(not reaches_the_slide([area], size) for area in areas)
    if off:
        yield f"{path.name}: areas that lie off the slide, passed over: {off} of {len(areas)}."


def reaches_the_slide(areas: Sequence[Area], size: Size) -> bool:
    """Whether any corner's span of the areas meets a slide of ``size``."""
    (left, top), (right, bottom) = extent_of(areas)
    return bool(right > 0 and bottom > 0 and left < size.width and top < size.height)


def off_the_slide(path: Path, areas: Sequence[Area], size: Size) -> MaskError:
    """Return the error of areas of which none lies on a slide of ``size``."""
    (left, top), (right, bottom) = extent_of(areas)
    return MaskError(
        f"Its areas span x {left:.0f}..{right:.0f} and y {top:.0f}..{bottom:.0f}, "
        f"and none lies on the slide of {size.width} x {size.height} px.",
        "Check that it belongs to this slide and is in pixels of the full resolution.",
        path,
    )


def _png(path: Path, content: bytes, size: Size) -> NDArray[np.bool_]:
    columns, rows = struct.unpack(">II", content[16:24].ljust(8, b"\0"))
    if columns * rows > MOST_PIXELS:
        raise MaskError(
            f"The mask has {columns} x {rows} px, more than {MOST_PIXELS}.",
            "Scale it down: 4096 px along the longest side are plenty.",
            path,
        )
    _check_aspect(path, columns, rows, size)
    try:
        return _tissue_of(content)
    # The boundary of a picture: Pillow's plugins promise no list of what they raise.
    except Exception as error:
        raise MaskError(f"The PNG is damaged: {error}.", "Write the mask again.", path) from error


def _check_aspect(path: Path, columns: int, rows: int, size: Size) -> None:
    if not (
        _near(rows, columns * size.height / size.width)
        or _near(columns, rows * size.width / size.height)
    ):
        raise MaskError(
            f"The mask has {columns} x {rows} px, and the slide has {size.width} x"
            f" {size.height} px: another shape.",
            "Give a mask of the whole slide, not of a part of it, neither rotated nor cropped.",
            path,
        )


def _near(pixels: int, expected: float) -> bool:
    return abs(pixels - expected) <= max(1.0, ASPECT * expected)


def _tissue_of(content: bytes) -> NDArray[np.bool_]:
    """Return where a PNG is neither 0 nor transparent; a palette counts by index."""
    with Image.open(BytesIO(content), formats=["PNG"]) as image:
        tissue = np.asarray(image) != 0
        bands = image.getbands()
    tissue = np.atleast_3d(tissue)
    if "A" in bands:
        tissue = tissue[..., :-1] & tissue[..., -1:]
    return np.asarray(tissue.any(axis=2), np.bool_)


DRAWN_MASKS = (".geojson", ".json", ".geojson.gz", ".geojson.zip", ".png")
VOLUME_MASKS = (".nii.gz", ".nii", ".nrrd", ".mgz")
"""What a mask may be called: of a slide or picture, and of a volume."""


def mask_file(facts: SourceFacts, mask: Path, suffixes: Sequence[str] = DRAWN_MASKS) -> Path:
    """Return a slide's or volume's mask: the file itself, or in a folder that of one of its names.

    MaskError if there is none.
    """
    if not mask.is_dir():
        return mask
    for name in names_of(facts):
        path = mask_called(mask, name, suffixes)
        if path is not None:
            return path
    raise MaskError(
        f"There is no {facts.name}{suffixes[0]} or {facts.name}{suffixes[-1]} in the"
        " folder of masks.",
        "Add one, or leave --mask out to detect the tissue.",
        mask,
    )


def mask_called(folder: Path, name: str, suffixes: Sequence[str]) -> Path | None:
    """Return the mask of one name in a folder of them, or None."""
    for suffix in suffixes:
        path = folder / f"{name}{suffix}"
        if path.exists():
            return path
    return None


SUFFIXES = (".geojson", ".json", ".geojson.gz", ".geojson.zip")


def pair_annotations(
    slides: Sequence[str | Path],
    annotations: Path,
) -> tuple[list[tuple[FoundSlide, Path]], list[str]]:
    """Return each slide with its annotations, and sentences on what has none.

    Parameters
    ----------
    slides
        Slides, or folders of slides.
    annotations
        GeoJSON of the only slide, or a folder with ``<stem>.geojson`` (``.json``, ``.geojson.gz``,
        ``.geojson.zip``) for each.

    Raises
    ------
    UsageError
        If no slide or no annotations are found, one file is given for several slides, or one of a
        folder is called after several slides.
    """
    found = find_slides(slides)
    if not annotations.exists():
        problem = "There is no such file for --annotations."
        raise UsageError(problem, "Check the path.", annotations)
    if annotations.is_file() and len(found.slides) > 1:
        raise UsageError(
            f"--annotations is one file for {len(found.slides)} slides.",
            "Pass a folder with one <stem>.geojson for each.",
            annotations,
        )
    pairs: list[tuple[FoundSlide, Path]] = []
    notes = list(found.ignored)
    refuse_shared_names(
        found, lambda name: annotation_file(annotations, name) is not None, "The annotations"
    )
    for slide in found.slides:
        names = (slide.name, *slide.aliases)
        path = next(filter(None, map(partial(annotation_file, annotations), names)), None)
        if path is None:
            notes.append(f"{slide.name} has no annotations and was passed over.")
        else:
            pairs.append((slide, path))
    if not pairs:
        raise UsageError(
            f"There is no {found.slides[0].name}.geojson in the folder of --annotations.",
            "Call each file like its slide.",
            annotations,
        )
    return pairs, notes


def annotation_file(annotations: Path, name: str) -> Path | None:
    """Return the annotations of the slide called ``name``.

    The file itself, or ``<name>.geojson`` in a folder.
    """
    if not annotations.is_dir():
        return annotations
    for suffix in SUFFIXES:
        path = annotations / f"{name}{suffix}"
        if path.is_file():
            return path
    return None
