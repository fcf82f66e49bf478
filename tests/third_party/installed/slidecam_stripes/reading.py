"""Slides in a format of their own: a mark, width, height, µm per pixel, and the pixels plainly."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import RegionReadError, UnreadableSourceError, UsageError
from slidecam.geometry import Size, Spacing, pyramid
from slidecam.sources import Reader, Source, SourceFacts

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.geometry import LevelBox
    from slidecam.sources import Probe

MARK = b"STRIPES\n"
HEADER = struct.Struct("<8sIId")
CHUNK = Size(128, 96)


def rank(probe: Probe) -> int:
    """Return how well the reader suits a file: by its mark."""
    return 60 if probe.head.startswith(MARK) else 0


def open_slide(probe: Probe) -> StripesSource:
    """Open a slide; UnreadableSourceError if it is cut short, or not of this format."""
    if probe.local is None or not probe.head.startswith(MARK) or len(probe.head) < HEADER.size:
        raise UnreadableSourceError(probe.given, "this is no slide of stripes.", "Pass another.")
    _mark, width, height, mpp = HEADER.unpack(probe.head[: HEADER.size])
    content = probe.local.read_bytes()
    if len(content) != HEADER.size + width * height * 3:
        raise UnreadableSourceError(probe.given, "this slide is cut short.", "Copy it again.")
    pixels = np.frombuffer(content, np.uint8, offset=HEADER.size).reshape(height, width, 3)
    facts = SourceFacts(
        path=probe.given,
        name=probe.name,
        reader="stripes",
        format="stripes",
        levels=pyramid([Size(width, height)]),
        spacing=Spacing(mpp, mpp),
        spacing_from="its header",
        bounds=None,
        chunk=(CHUNK,),
        associated=(),
        fingerprint=hashlib.sha256(content).hexdigest(),
    )
    return StripesSource(facts, pixels)


class StripesSource(Source):
    """A slide of stripes."""

    def __init__(self, facts: SourceFacts, pixels: NDArray[np.uint8]) -> None:
        super().__init__(facts)
        self._pixels: NDArray[np.uint8] | None = pixels

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        if level:
            raise RegionReadError(self.facts.path, level, box, "there is one level")
        if self._pixels is None:
            raise UsageError(f"{self.facts.path}: this source is closed.", "Open it again.")
        return self._pixels[box.y : box.bottom, box.x : box.right].copy()

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Return no image: there is none."""
        raise KeyError(name)

    def close(self) -> None:
        """Let the pixels go."""
        self._pixels = None


def write_stripes(path: Path, pixels: NDArray[np.uint8], mpp: float) -> None:
    """Write a slide."""
    height, width = pixels.shape[:2]
    path.write_bytes(HEADER.pack(MARK, width, height, mpp) + pixels.tobytes())


READER = Reader(
    "stripes",
    rank,
    open_slide,
    suffixes=(".stripes",),
    formats=("stripes",),
    packages=("slidecam-stripes",),
    check="slidecam_stripes.reading:check",
    help="slides of stripes",
)


def check() -> str:
    """Return what ``slidecam doctor`` says of the reader."""
    return "stripes are straight"
