"""A reader that does what its files say: end its process, hang in it, or fill its memory."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import RegionReadError
from slidecam.geometry import Size, Spacing, pyramid
from slidecam.sources import Reader, Source, SourceFacts
from slidecam.sources._reader_process import memory_limit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.geometry import LevelBox
    from slidecam.sources import Probe

MARK = b"HOSTILE "
SIZE = Size(192, 128)


def open_slide(probe: Probe) -> HostileSource:
    """Open a file that says at which stage it does what: ``HOSTILE read abort``."""
    _mark, stage, deed = probe.head.decode().split()
    source = HostileSource(
        SourceFacts(
            path=probe.given,
            name=probe.name,
            reader="hostile",
            format="hostile",
            levels=pyramid([SIZE]),
            spacing=Spacing(0.5, 0.5),
            spacing_from="its maker",
            bounds=None,
            chunk=(Size(64, 64),),
            associated=(),
            fingerprint=f"{stage}-{deed}",
        )
    )
    if stage == "open":
        do(deed)
    source.deed = deed
    return source


def do(deed: str) -> None:
    """End this process, hang in it, or ask for all of its memory."""
    if deed == "abort":
        os.write(2, b"\nGLib-ERROR: failed to allocate\n")
        os.abort()
    if deed == "hang":
        time.sleep(600)
    if deed == "eat":
        np.zeros(memory_limit(), np.uint8)


class HostileSource(Source):
    """Violet all over, where it can be read."""

    deed = "nothing"

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        do(self.deed)
        if self.deed == "damage":
            raise RegionReadError(self.facts.path, level, box, "there is a hole")
        return np.full((box.height, box.width, 3), (150, 60, 140), np.uint8)

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Return no image: there is none."""
        raise KeyError(name)

    def close(self) -> None:
        """There is nothing to close."""


READER = Reader(
    "hostile",
    lambda probe: 60 if probe.head.startswith(MARK) else 0,
    open_slide,
    suffixes=(".hst",),
    native=True,
)
