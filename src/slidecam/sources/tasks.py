"""What Dask's tasks hold of a slide: the slide as it is open here, or how to open it again.

Open files stay in their process. A task that runs in another one, on this machine or elsewhere,
gets the words that a slide was opened with, and opens it at its first read.
"""

from __future__ import annotations

import weakref
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import numpy as np

from slidecam.errors import UnreadableSourceError, UsageError
from slidecam.geometry import LevelBox
from slidecam.objects import from_everywhere
from slidecam.registry import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from slidecam.sources.source import Source
    from slidecam.viewing import VolumeView

KEPT_OPEN = 3
"""Slides that a process keeps open for tasks to come."""

Kind = TypeVar("Kind", bound="Source")


@dataclass(frozen=True)
class Opening:
    """What `open_source` was called with.

    Attributes
    ----------
    path
        A URL, or a path, which tasks see under the same name.
    reader, view, content
        The others of its parameters.
    fingerprint
        Of the file that was opened; empty where nobody compares.
    """

    path: str = field(repr=False)
    reader: str | None
    view: VolumeView
    content: bytes | None = field(repr=False)
    fingerprint: str = ""

    def anywhere(self, fingerprint: str) -> Opening:
        """Return the same for another process, whatever folder that works in."""
        path = from_everywhere(self.path)
        return replace(self, path=path, fingerprint=fingerprint)

    def again(self) -> Source:
        """Open it.

        Raises
        ------
        SourceError
            If it cannot be opened, or another file lies there.
        """
        source: Source = load("slidecam.sources.opening:open_source")(
            self.path, self.reader, self.view, self.content
        )
        if source.facts.fingerprint != self.fingerprint:
            source.let_go()
            problem = "Another file lies here than where the array was made of it."
            raise UnreadableSourceError(self.path, problem, "Make the array anew.")
        return source


class TaskSlide(Generic[Kind]):
    """A slide for tasks: pickled, it is how the slide was opened, and no file and no pixel."""

    def __init__(self, source: Kind) -> None:
        self._source: Kind | None = source
        self._opening: Opening | None = None

    def __getstate__(self) -> Opening:
        if self._source is None:
            return cast("Opening", self._opening)
        facts, opening = self._source.facts, self._source.opening
        if opening is None:
            raise UsageError(
                "This slide is open in this process alone: open_source did not open it.",
                "Open it by open_source, or compute its arrays by threads.",
                facts.path,
            )
        return opening.anywhere(facts.fingerprint)

    def __setstate__(self, opening: Opening) -> None:
        self._source, self._opening = None, opening

    @contextmanager
    def opened(self) -> Iterator[Kind]:
        """Give the open slide.

        Raises
        ------
        SourceError
            If it was open in another process, and this one cannot open it.
        """
        if self._source is not None:
            yield self._source
            return
        held = _held(cast("Opening", self._opening))
        yield cast("Kind", held.source)


class _Held:
    """A slide that is open until nobody holds it any more."""

    def __init__(self, source: Source) -> None:
        self.source = source
        weakref.finalize(self, source.let_go)


@lru_cache(maxsize=KEPT_OPEN)
def _held(opening: Opening) -> _Held:
    return _Held(opening.again())


class LevelView:
    """What Dask needs to slice a level: shape, dtype, slices.

    Nothing is read before a block is wanted.

    Dask merges what is wanted of an array into the slices of its blocks, steps and single rows
    included.
    """

    def __init__(self, source: Source, level: int) -> None:
        size = source.facts.levels[level].size
        self.shape = (size.height, size.width, 3)
        self.dtype = np.dtype(np.uint8)
        self.ndim = 3
        self._slide, self._level = TaskSlide(source), level

    def __getitem__(self, key: tuple[slice | int, slice | int, slice | int]) -> NDArray[np.uint8]:
        rows, columns, bands = key
        top, bottom, every_row = _span(rows, self.shape[0])
        left, right, every_column = _span(columns, self.shape[1])
        box = LevelBox(left, top, right - left, bottom - top)
        with self._slide.opened() as source:
            pixels: Any = source.read(self._level, box)
        return cast("NDArray[np.uint8]", pixels[every_row, every_column, bands])


def _span(part: slice | int, length: int) -> tuple[int, int, slice | int]:
    """Return the first place and one past the last that an index touches, and the index in them."""
    if not isinstance(part, slice):
        place = part % length
        return place, place + 1, 0
    places = range(length)[part]
    if not places:
        return 0, 0, slice(None)
    first, last = min(places[0], places[-1]), max(places[0], places[-1])
    return first, last + 1, slice(None, None, places.step)
