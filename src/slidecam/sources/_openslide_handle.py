"""An open OpenSlide slide that threads share, that survives its errors, and gives RGB in one pass.

openslide-python hands out straight-alpha RGBA in a Pillow image; making RGB of that took longer
than decoding the JPEG tiles. OpenSlide itself writes premultiplied ARGB into a buffer, from which
RGB is three strided copies.
"""

from __future__ import annotations

import ctypes
import sys
from collections import Counter
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import openslide
from openslide import OpenSlideError, lowlevel
from PIL import ImageCms

from slidecam.pixels import over_background, pick, premultiplied_over
from slidecam.sources._library import closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray
    from PIL import Image

    from slidecam.pixels import RGB


T = TypeVar("T")


class Slide(Protocol):
    """The part of openslide.OpenSlide that is used here."""

    @property
    def level_dimensions(self) -> tuple[tuple[int, int], ...]:
        """Width and height of every level."""

    @property
    def level_downsamples(self) -> tuple[float, ...]:
        """Downsample of every level."""

    @property
    def properties(self) -> Mapping[str, str]:
        """What the file says of itself."""

    @property
    def associated_images(self) -> Mapping[str, Image.Image]:
        """Label, macro and thumbnail."""

    @property
    def color_profile(self) -> ImageCms.ImageCmsProfile | None:
        """The slide's ICC profile."""

    def read_region(
        self,
        location: tuple[int, int],
        level: int,
        size: tuple[int, int],
    ) -> Image.Image:
        """Return a region as RGBA."""

    def close(self) -> None:
        """Release the file."""


class SlideHandle:
    """An open slide that threads share, replaced when an error has poisoned it.

    OpenSlide's first error on a handle is its last state: every later call on that handle fails, on
    every thread. So a failed read retires the handle and is tried once more on a fresh one of its
    own, which tells a region that cannot be read from one that another thread's region took down. A
    retired handle is closed by the last thread that still reads with it.
    """

    def __init__(self, path: str, open_handle: Callable[[], Slide]) -> None:
        self._path = path
        self._open = open_handle
        self._lock = Lock()
        self._current: Slide | None = open_handle()
        self._readers: Counter[Slide] = Counter()
        self._closed = False

    def read(self, work: Callable[[Slide], T]) -> T:
        """Return what ``work`` gives, tried again on a fresh handle.

        OpenSlideError if that fails too.
        """
        failed: Slide | None = None
        try:
            with self.lease() as slide:
                failed = slide
                return work(slide)
        except OpenSlideError:
            if failed is None:  # the file itself cannot be opened any more
                raise
            self._retire(failed)
        fresh = self._open()
        try:
            result = work(fresh)
        except OpenSlideError:
            fresh.close()
            raise
        self._adopt(fresh)
        return result

    @contextmanager
    def lease(self) -> Iterator[Slide]:
        """Lend the handle of the moment; it stays open as long as the block runs."""
        with self._lock:
            if self._closed:
                raise closed(self._path)
            if self._current is None:
                self._current = self._open()
            slide = self._current
            self._readers[slide] += 1
        try:
            yield slide
        finally:
            with self._lock:
                self._readers[slide] -= 1
                self._close_if_idle(slide)

    def close(self) -> None:
        """Lend no more, and close the handle once it is idle."""
        with self._lock:
            self._closed = True
            current, self._current = self._current, None
            if current is not None:
                self._close_if_idle(current)

    def _retire(self, slide: Slide) -> None:
        with self._lock:
            # where another thread has retired it already, the last of its readers closes it
            if self._current is slide:
                self._current = None
                self._close_if_idle(slide)

    def _adopt(self, slide: Slide) -> None:
        with self._lock:
            if self._current is None and not self._closed:
                self._current = slide
            else:
                slide.close()

    def _close_if_idle(self, slide: Slide) -> None:
        if slide is not self._current and not self._readers[slide]:
            slide.close()
            del self._readers[slide]


def profile_of_slide(slide: Slide) -> bytes | None:
    """Return a slide's ICC profile, or None; empty where it is broken."""
    try:
        profile = slide.color_profile
    except ImageCms.PyCMSError:
        return b""
    if profile is None:
        return None
    return bytes(profile.tobytes())


_BLUE_FIRST = (2, 1, 0)
_RED_FIRST = [2, 1, 0, 3]
_LOWEST_OPAQUE = 0xFF000000

# lowlevel promises nothing; where a later release has moved this function, the public and slower
# way is taken
_FILL = getattr(lowlevel, "_read_region", None) if sys.byteorder == "little" else None


def read_rgb(
    slide: Slide,
    corner: tuple[int, int],
    level: int,
    size: tuple[int, int],
    background: RGB,
) -> NDArray[np.uint8]:
    """Return a region as (height, width, 3), transparent pixels laid over ``background``.

    Parameters
    ----------
    slide
        An open slide.
    corner
        x and y of the upper left corner in level-0 pixels.
    level
        The pyramid level.
    size
        Width and height in pixels of the level.
    background
        The colour of what the scanner left out.
    """
    if _FILL is None or not isinstance(slide, openslide.OpenSlide):
        return over_background(np.asarray(slide.read_region(corner, level, size)), background)
    width, height = size
    buffer = np.empty((height, width), np.uint32)
    pointer = buffer.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32))
    _FILL(slide._osr, pointer, *corner, level, width, height)  # noqa: SLF001 - see _FILL
    bands = buffer.view(np.uint8).reshape(height, width, 4)
    if buffer.min() >= _LOWEST_OPAQUE:
        return pick(bands, _BLUE_FIRST)
    return premultiplied_over(bands[:, :, _RED_FIRST], background)
