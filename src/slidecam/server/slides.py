"""Slides that a viewer looks at: opened once, kept for a while, cut into Deep Zoom tiles."""

from __future__ import annotations

import hashlib
import sys
import time
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any

from PIL import Image

from slidecam.errors import SpacingError
from slidecam.runs.located import recorded_fingerprint, recorded_view
from slidecam.runs.record import RunRecord
from slidecam.server.callers import Caller
from slidecam.server.deepzoom import DeepZoom, PlaneZoom, plane_facts
from slidecam.server.guard import RequestError
from slidecam.server.standing import standing_of
from slidecam.sources import settle_spacing
from slidecam.sources.apart import open_apart
from slidecam.sources.display import readings_to_show
from slidecam.viewing import AS_THE_FILE_SAYS, DEFAULT_VIEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from slidecam.server.standing import Standing
    from slidecam.sources import Source
    from slidecam.sources.images import FileImage
    from slidecam.viewing import PictureView, VolumeView

QUALITY = 85
WEIGHED_SECONDS = 1.0

WRITTEN_SINCE = (
    "This file was written or replaced after it was classified; its size and samples of its"
    " content are what they were."
)


@dataclass(frozen=True)
class _Known:
    """A slide that was opened once: where it lay, which one it was, and what was seen of it.

    Its fingerprint is of samples of its content; ``standing`` tells it from a file that has the
    same ones.
    """

    path: Path
    fingerprint: str
    standing: Standing | None
    view: VolumeView

    @property
    def name(self) -> str:
        """What it is called in URLs."""
        chosen = self.view.slide.chosen
        words = f"{self.path}\0{self.fingerprint}\0{self.standing}\0{chosen}"
        return hashlib.sha256(words.encode(errors="surrogateescape")).hexdigest()[:16]


@dataclass
class _Opened:
    """A slide, and how many are reading it just now."""

    zoom: DeepZoom
    readers: int = 0
    unwanted: bool = False
    lock: Lock = field(default_factory=Lock)


class SlideCache:
    """The slides that were looked at last.

    Attributes
    ----------
    seconds
        How long one look at a slide may take; then its process is ended, and the look has failed.

    Parameters
    ----------
    most
        How many files stay open.
    most_bytes
        What is held for them, in memory and temporary storage, beyond which the one that was looked
        at longest ago is let go.
    view
        Says how volumes are looked at now. Slides are shown in sRGB, whatever their classifier
        sees.
    """

    seconds = 120.0

    def __init__(
        self,
        most: int,
        view: Callable[[], VolumeView] = lambda: DEFAULT_VIEW,
        most_bytes: int = sys.maxsize,
    ) -> None:
        self._most, self._view, self._most_bytes = most, view, most_bytes
        self._opening: dict[str, Lock] = {}
        self._weighed = 0.0
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._open: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = Lock()

    def open(self, path: Path, seen: PictureView = AS_THE_FILE_SAYS) -> dict[str, Any]:
        """Open a picture of a file and return what a viewer needs; SlidecamError if it cannot be.

        Parameters
        ----------
        path
            The file.
        seen
            Which of its pictures.
        """
        view, standing = self._shown(seen), standing_of(path)
        return self._cached(path, open_apart(path, view=view, seconds=self.seconds), standing, view)

    def _shown(self, seen: PictureView) -> VolumeView:
        return replace(self._view(), slide=replace(seen, profile="srgb"))

    def open_of_run(
        self, path: Path, folder: Path, classified: Standing | None = None
    ) -> dict[str, Any]:
        """Open the slide that a run classified, for its tiles and heatmaps to be laid over it.

        Parameters
        ----------
        path
            Where the slide lies.
        folder
            The run's.
        classified
            Which file it was, where that is known: one that was written since is said.

        Raises
        ------
        RequestError
            409 if another slide lies there now.
        SlidecamError
            If it cannot be read, or there is no run.
        """
        # The record's plan and not the store's: on Windows, reading the store would hinder the
        # thread that writes it.
        record = RunRecord.read(folder)
        # The picture that the run classified, which need not be the file's largest.
        view = self._shown(recorded_view(record.plan).slide)
        standing = standing_of(path)
        source = open_apart(path, view=view, seconds=self.seconds)
        if source.facts.fingerprint != recorded_fingerprint(record, record.plan):
            source.let_go()
            raise _another_slide(path)
        facts = self._cached(path, source, standing, view)
        if classified not in {None, standing}:
            facts["notes"].append(WRITTEN_SINCE)
        return facts

    def _cached(
        self, path: Path, source: Source, standing: Standing | None, view: VolumeView
    ) -> dict[str, Any]:
        """Put a slide on the shelf, unless it stands there, and return what a viewer needs."""
        known = _Known(path, source.facts.fingerprint, standing, view)
        name = known.name
        with self._lock:
            self._known[name] = known
            self._known.move_to_end(name)
            while len(self._known) > self._most * 64:
                self._known.popitem(last=False)
            if name in self._open and not self._open[name].zoom.source.is_lost:
                source.let_go()
            else:
                self._open[name] = _Opened(_zoom(source))
        with self._reading(name) as zoom:
            return {"id": name, **_facts(zoom), "dzi": f"/v1/slides/{name}.dzi"}

    def description(self, name: str) -> str:
        """Return a slide's ``.dzi``."""
        with self._reading(name) as zoom:
            return zoom.xml()

    def tile(
        self,
        name: str,
        level: int,
        column: int,
        row: int,
        plane: int = 0,
        caller: Caller | None = None,
    ) -> bytes:
        """Return one tile of a plane as JPEG; CallerLeftError where its ``caller`` has left.

        RequestError 404 if there is none, RegionReadError if it is damaged.
        """
        caller = caller or Caller()
        with self._reading(name) as zoom:
            caller.stays()  # opening it once more may have taken long
            pixels = zoom.tile(level, column, row, plane, caller)
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
        return file.getvalue()

    def close(self) -> None:
        """Let every file go."""
        with self._lock:
            for opened in self._open.values():
                opened.zoom.source.let_go()
            self._open.clear()

    @contextmanager
    def _reading(self, name: str) -> Iterator[DeepZoom]:
        """Give a slide that stays open until the reader is done, even if pushed off the shelf."""
        opened = self._take(name)
        try:
            yield opened.zoom
        finally:
            with self._lock:
                opened.readers -= 1
                if opened.unwanted and not opened.readers:
                    opened.zoom.source.let_go()

    def _take(self, name: str) -> _Opened:
        """Return a slide, opened where it is not, and one more who reads it."""
        with self._lock:
            known = self._known.get(name)
            if known is None:
                raise RequestError(
                    404,
                    f"There is no open slide {name}.",
                    "GET /v1/slides/open?path=… opens one.",
                )
            opened = self._standing(name)
            if opened is not None:
                return opened
            alone = self._opening.setdefault(name, Lock())
        # Whoever wants the same slide waits for it; nobody else does.
        with alone:
            with self._lock:
                opened = self._standing(name)
            if opened is not None:
                return opened
            zoom = _zoom(self._reopened(known))
            with self._lock:
                self._open[name] = _Opened(zoom, readers=1)
                self._opening.pop(name, None)
                self._put_away()
                return self._open[name]

    def _standing(self, name: str) -> _Opened | None:
        """Return a slide that is open, and one more who reads it; None where it is not."""
        opened = self._open.get(name)
        if opened is not None and opened.zoom.source.is_lost:
            # Whoever still reads it fails; it is closed with its process.
            del self._open[name]
            opened = None
        if opened is None:
            return None
        self._open.move_to_end(name)
        opened.readers += 1
        self._put_away()
        return opened

    def _reopened(self, known: _Known) -> Source:
        standing = standing_of(known.path)
        source = open_apart(known.path, view=known.view, seconds=self.seconds)
        if (source.facts.fingerprint, standing) == (known.fingerprint, known.standing):
            return source
        source.let_go()
        raise RequestError(
            409, f"Another slide than before lies at {known.path}.", "Open it once more."
        )

    def _put_away(self) -> None:
        """Let slides go that were looked at longest ago, while there are too many or too large."""
        while len(self._open) > self._most or (len(self._open) > 1 and self._is_heavy()):
            _name, old = self._open.popitem(last=False)
            self._weighed = 0.0
            old.unwanted = True
            if not old.readers:
                old.zoom.source.let_go()

    def _is_heavy(self) -> bool:
        """Whether all together take too much memory, looked at once a second and not each tile."""
        now = time.monotonic()
        if now - self._weighed < WEIGHED_SECONDS:
            return False
        self._weighed = now
        held = sum(one.zoom.source.held_bytes for one in self._open.values())
        return held > self._most_bytes


def _another_slide(path: Path) -> RequestError:
    return RequestError(
        409,
        f"Another slide than the one that was classified lies at {path}.",
        "Put that one back, or classify this one.",
    )


def _zoom(source: Source) -> DeepZoom:
    if source.facts.stack is None:
        return DeepZoom(source)
    return PlaneZoom(source, source.facts.stack)


def _image_facts(image: FileImage) -> dict[str, Any]:
    return {
        "number": image.number,
        "name": image.name,
        "width": image.size.width,
        "height": image.size.height,
        "shown": image.chosen,
    }


def _facts(zoom: DeepZoom) -> dict[str, Any]:
    facts = zoom.source.facts
    volume = None
    if facts.stack is not None:
        volume = plane_facts(facts.stack)
    record = {
        "name": facts.name,
        "path": facts.path,
        "width": zoom.size.width,
        "height": zoom.size.height,
        "volume": volume,
        "reader": facts.reader,
        "notes": list(readings_to_show(facts)),
        "images": list(map(_image_facts, facts.images)),
    }
    try:
        settled = settle_spacing(facts)
    except SpacingError as error:
        return {
            **record,
            "spacing_um_px": None,
            "pixel_um": None,
            "spacing_from": f"{error.problem} {error.remedy}",
        }
    return {
        **record,
        "spacing_um_px": settled.spacing.mean,
        "pixel_um": [settled.spacing.x, settled.spacing.y],
        "spacing_from": settled.origin,
    }
