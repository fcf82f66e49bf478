"""Slides read in a process of their own: what ends, hangs or fills that process fails one slide.

Libraries of native code (libtiff, GLib, codecs) end their process on some files, and nothing in it
can catch that. Pixels come through shared memory, so that it costs next to nothing.
"""

from __future__ import annotations

import math
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import psutil

from slidecam.errors import SlidecamError, SlideFailedError, UnreadableSourceError
from slidecam.objects import as_given
from slidecam.sources._library import closed
from slidecam.sources._reader_messages import SLOT_BYTES, Opened
from slidecam.sources._reader_owner import (
    ANSWER_SECONDS,
    ReaderEndedError,
    ReaderProcess,
    idle_readers,
)
from slidecam.sources._reader_process import memory_limit
from slidecam.sources._remote import probed
from slidecam.sources.opening import open_source
from slidecam.sources.readers import READERS, is_named_as_native, may_be_native
from slidecam.sources.source import Source
from slidecam.sources.tasks import Opening
from slidecam.viewing import DEFAULT_VIEW

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from slidecam.geometry import LevelBox
    from slidecam.viewing import VolumeView

CLOSE_SECONDS = 5.0

_DAMAGED = "The file is damaged, or beyond its reader: try --reader, or convert the file."
_SLOW = "See that its disk or share answers, or allow more by --slide-timeout."
_GB = 1e9


def open_apart(
    path: str | Path,
    reader: str | None = None,
    view: VolumeView = DEFAULT_VIEW,
    seconds: float | None = None,
    content: bytes | None = None,
) -> Source:
    """Open what `open_source` does, in a process of its own where a native library reads it.

    The one rule for all doors: whatever opens a file that a person names opens it so. What is at a
    URL, and volumes but for their packed frames of DICOM, are read in this process; so is what a
    task of Dask or a test opens by `open_source`.

    Parameters
    ----------
    path, reader, view, content
        As in `open_source`.
    seconds
        How long each read may take; None for `ANSWER_SECONDS`.

    Returns
    -------
    Source
        Tasks of Dask in other processes open it there themselves.

    Raises
    ------
    SlideFailedError
        If the process that opens it ends, needs too much memory, or does not answer in time.
    SlidecamError
        What `open_source` raises.
    """
    if not _is_native(path, reader, view, content):
        return open_source(path, reader, view, content)
    try:
        process = idle_readers().take()
    except OSError as error:
        source = open_source(path, reader, view, content)
        source.add_readings((f"Read in this process, as no other could be started ({error}).",))
        return source
    limit = seconds or ANSWER_SECONDS
    given = str(path)
    try:
        with _keeping_to(given, limit):
            opened = process.ask(
                "open", str(Path.cwd()), given, reader, view, content, seconds=limit
            )
    except BaseException as error:
        if isinstance(error, SlidecamError) and not isinstance(error, SlideFailedError):
            idle_readers().put(process)  # a file that is refused has harmed nobody
        else:
            process.end()
        raise
    if isinstance(opened, Opened):
        source = SourceApart(opened, process, limit)
        source.opening = Opening(as_given(path), reader, view, content)
        return source
    idle_readers().put(process)
    return open_source(path, reader, view, content)


def expect(path: str, reader: str | None) -> None:
    """Start the process that will read a file, where it is certain to be read by one.

    It takes a second, in which its owner has other things to do; by the file's name alone, as a
    drive may not answer. Where none can be started, `open_apart` says so.
    """
    if "://" in path or (reader is None and not is_named_as_native(Path(path))):
        return
    if reader is not None and not (reader in READERS and READERS[reader].native):
        return
    with suppress(OSError):
        idle_readers().put(idle_readers().take())


def _is_native(
    path: str | Path, reader: str | None, view: VolumeView, content: bytes | None
) -> bool:
    """Whether a library of native code may be needed to read a file; nothing of it runs for it."""
    given = str(path)
    if content is None and "://" in given and not given.startswith("file:"):
        return False
    if reader is not None:
        return reader in READERS and READERS[reader].native
    # Before any look at it: a file that does not answer shall hold up its own process alone.
    if content is None and is_named_as_native(Path(given)):
        return True
    return may_be_native(probed(path, view, content))


class SourceApart(Source):
    """A slide that is open in a process of its own, which is this source's until it is closed."""

    closes_under_reads = True

    def __init__(self, opened: Opened, process: ReaderProcess, seconds: float) -> None:
        super().__init__(opened.facts)
        self.seen = opened.seen
        self._opened, self._process, self._seconds = opened, process, seconds
        self._guard = Lock()
        self._closed = False

    @property
    def pid(self) -> int:
        """The number of the process that reads it."""
        return self._process.pid

    @property
    def held_bytes(self) -> int:
        """Memory of the process that reads it."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    @property
    def is_lost(self) -> bool:
        """Whether the process that reads it has ended."""
        return self._process.has_ended

    @property
    def token(self) -> str:
        """What the source has that is open there."""
        return self._opened.token

    def _ask(self, verb: str, *given: object) -> Any:  # noqa: ANN401  (as the verb has it)
        if self._closed:
            raise closed(self.facts.path)
        with _keeping_to(self.facts.path, self._seconds):
            return self._process.ask(verb, *given, seconds=self._seconds)

    def _decode(self, level: int, box: LevelBox) -> NDArray[np.uint8]:
        return self._decode_plane(level, box, 0)

    def _decode_plane(self, level: int, box: LevelBox, plane: int) -> NDArray[np.uint8]:
        shape = (box.height, box.width, 3)
        if math.prod(shape) > SLOT_BYTES:
            whole: NDArray[np.uint8] = self._ask("read", level, box, plane, -1)
            return whole
        with self._process.slot() as place:
            self._ask("read", level, box, plane, place)
            return self._process.taken(place, shape)

    def is_absent(self, level: int, box: LevelBox) -> bool:
        """Whether the file holds nothing of ``box``, so that `read` gives `GLASS` there."""
        return self._opened.is_sparse and bool(self._ask("is_absent", level, box))

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Return the associated image ``name``; KeyError if absent."""
        picture: NDArray[np.uint8] = self._ask("associated_image", name)
        return picture

    def color_profile(self) -> bytes | None:
        """Return the ICC profile of the picture that is read, as the file holds it, or None."""
        profile: bytes | None = self._ask("color_profile")
        return profile

    def close(self) -> None:
        """Let the slide go; a process that still reads it is ended."""
        lost = self.let_go()
        if lost:
            raise UnreadableSourceError(self.facts.path, lost, _DAMAGED)

    def let_go(self) -> str:
        """Close, and return what its reader raised meanwhile, in words."""
        with self._guard:
            was_closed, self._closed = self._closed, True
        if was_closed:
            return ""
        if self._process.is_busy:
            self._process.end("its slide was closed")
            return ""
        try:
            lost: str = self._process.ask("close", seconds=CLOSE_SECONDS)
        except ReaderEndedError:
            return ""
        idle_readers().put(self._process)
        return lost


@contextmanager
def _keeping_to(path: str, seconds: float) -> Iterator[None]:
    """Turn the end of a reader's process into the failure of its slide, in words."""
    try:
        yield
    except ReaderEndedError as error:
        if error.silent:
            problem = f"Its reader gave no answer for {seconds:g} s"
            raise SlideFailedError(path, problem, _SLOW) from error
        problem = f"The process that read it ended ({error})"
        raise SlideFailedError(path, problem, _DAMAGED) from error
    except MemoryError as error:
        limit = f"{memory_limit() / _GB:.1f} GB"
        problem = f"Its reader needs more memory than it may take, which is {limit}"
        raise SlideFailedError(path, problem, _DAMAGED) from error
