"""Pictures of a slide's label, or of its whole glass, that were saved as files of their own.

They lie beside their slides, and are no slides. Only what is sure by content is known for one: a
TIFF all of whose pages a scanner's software calls so, or a picture with the pixels of the label or
macro image of the slide that it is called after.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.errors import SlidecamError
from slidecam.geometry import LevelBox
from slidecam.registry import load
from slidecam.sources._first_look import LOOK_SECONDS, at_first_look
from slidecam.sources._probe import name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.sources.source import Source

LARGEST_BYTES = 32_000_000
"""Of a file that is looked into: an export of 2,000 x 1,000 pixels is 6 MB, uncompressed."""

NAMES = frozenset({"label", "macro", "overview"})
"""What a slide's file may call its label, and the photograph of the whole glass."""

LIKE, ALIKE = 8.0, 0.95
"""Mean difference, and least correlation, of a picture and its copy by a lossy format.

JPEG at quality 50 differs by 3 on a photographed label. Nothing is known of one plain colour.
"""

_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_PICTURE = (b"\x89PNG", b"\xff\xd8\xff", b"BM", *_TIFF)
_BEGIN = 4
_APERIO = re.compile(r"Aperio Image Library[^\n]*\n(label|macro) \d+x\d+")
_SOURCE_LENS = 65421
_HAMAMATSU = {-1.0: "macro", -2.0: "macro"}
"""Hamamatsu's lens of the camera that sees the whole glass, and of the map that is made of it."""

_BETWEEN = re.compile(r"[-_. ]+")


class LabelPictures:
    """The files of one folder, among which pictures of labels are looked for.

    Parameters
    ----------
    entries
        What may be slides.
    """

    def __init__(self, entries: Sequence[Path]) -> None:
        self._by_stem: dict[str, list[Path]] = {}
        for entry in entries:
            self._by_stem.setdefault(name_of(entry).casefold(), []).append(entry)

    def kind_of(self, path: Path) -> str:
        """Return what a file shows instead of a slide, in words; empty where it may be one."""
        begin = _begin(path)
        if not begin.startswith(_PICTURE):
            return ""
        if begin in _TIFF:
            name = _name_in_tiff(path)
            if name:
                return f"the {name} picture of a slide"
        for slide in self._called_after(path):
            name = _name_in_slide(path, slide)
            if name:
                return f"the {name} picture of {slide.name}"
        return ""

    def _called_after(self, path: Path) -> Iterator[Path]:
        """Yield the other files whose stems the name of one begins or ends with."""
        stem = name_of(path).casefold()
        parts = {stem}
        for between in _BETWEEN.finditer(stem):
            parts |= {stem[: between.start()], stem[between.end() :]}
        for part in sorted(parts & self._by_stem.keys()):
            for slide in self._by_stem[part]:
                if slide != path and not _is_plain(slide):
                    yield slide


def _begin(path: Path) -> bytes:
    """Return a small file's first bytes; none of what is large, no file, or cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            return b""
        return at_first_look(path, _first_bytes)
    except OSError:
        return b""


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_BEGIN)


def _is_plain(path: Path) -> bool:
    """Whether a file is of a format that holds one picture and no label beside it."""
    if path.is_dir():
        return False
    begin = _begin(path)
    return begin.startswith(_PICTURE) and begin not in _TIFF


def _name_in_tiff(path: Path) -> str:
    """Return what the pages of a TIFF are by its software; empty where one of them is no such."""
    try:
        with load("tifffile:TiffFile")(path) as tiff:
            names = set(map(_name_of_page, tiff.pages))
    # What cannot be read is a slide that was lost, and fails as one.
    except Exception:  # noqa: BLE001
        return ""
    if "" in names:
        return ""
    return " and ".join(sorted(names))


def _name_of_page(page: Any) -> str:  # noqa: ANN401  (tifffile's)
    said = _APERIO.match(page.description.replace("\r", ""))
    if said:
        return str(said[1])
    lens: float | None = page.tags.valueof(_SOURCE_LENS)
    return _HAMAMATSU.get(lens or 0.0, "")


def _name_in_slide(path: Path, slide: Path) -> str:
    """Return which image of a slide's file a picture is a copy of; empty where it is of none."""
    # In a process of its own: what a hostile file does there ends no search.
    opened = partial(load("slidecam.sources.apart:open_apart"), seconds=LOOK_SECONDS)
    with suppress(SlidecamError), opened(slide) as beside:
        names = [name for name in beside.facts.associated if name.lower() in NAMES]
        if not names:
            return ""
        with opened(path) as picture:
            for name in names:
                if _is_same(beside, name, picture):
                    return str(name).lower()
    return ""


def _is_same(slide: Source, name: str, picture: Source) -> bool:
    size = picture.facts.size
    try:
        image = slide.associated_image(name)
    except KeyError:
        return False
    if image.shape[:2] != (size.height, size.width):
        return False
    return is_copy(image, picture.read(0, LevelBox(0, 0, size.width, size.height)))


def is_copy(image: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Whether two pictures of one size, (height, width, 3), show the same."""
    first, second = image.astype(np.float32), other.astype(np.float32)
    if np.abs(first - second).mean() > LIKE:
        return False
    first, second = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return scale > 0 and float((first * second).sum()) / scale >= ALIKE
