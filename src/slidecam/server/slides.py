"""Slides that a viewer looks at: opened once, kept for a while, cut into Deep Zoom tiles."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from threading import Lock
from typing import TYPE_CHECKING, Any

from PIL import Image

from slidecam.errors import SpacingError
from slidecam.server.deepzoom import DeepZoom
from slidecam.server.http_errors import RequestError
from slidecam.server.planes import PlaneZoom, planes_told
from slidecam.sources import open_source, settle_spacing
from slidecam.viewing import DEFAULT_VIEW

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from slidecam.sources import Source
    from slidecam.viewing import VolumeView

QUALITY = 85


@dataclass
class _Opened:
    """A slide, and how many are reading it just now."""

    zoom: DeepZoom
    readers: int = 0
    unwanted: bool = False
    lock: Lock = field(default_factory=Lock)


class SlideShelf:
    """The slides that were looked at last.

    Parameters
    ----------
    most
        How many files stay open.
    view
        How volumes are looked at.
    """

    def __init__(self, most: int, view: VolumeView = DEFAULT_VIEW) -> None:
        self._most, self._view = most, view
        self._paths: OrderedDict[str, Path] = OrderedDict()
        self._open: OrderedDict[str, _Opened] = OrderedDict()
        self._lock = Lock()

    def open(self, path: Path) -> dict[str, Any]:
        """Open a slide and return what a viewer needs; SlidecamError if it cannot be read."""
        name = hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()[:16]
        with self._lock:
            self._paths[name] = path
            self._paths.move_to_end(name)
            while len(self._paths) > self._most * 64:
                self._paths.popitem(last=False)
        with self._reading(name) as zoom:
            return {"id": name, **_facts(zoom), "dzi": f"/v1/slides/{name}.dzi"}

    def description(self, name: str) -> str:
        """Return a slide's ``.dzi``."""
        with self._reading(name) as zoom:
            return zoom.xml()

    def tile(self, name: str, level: int, column: int, row: int, plane: int = 0) -> bytes:
        """Return one tile of a plane as JPEG.

        RequestError 404 if there is none, RegionReadError if it is damaged.
        """
        with self._reading(name) as zoom:
            pixels = zoom.tile(level, column, row, plane)
        file = BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=QUALITY)
        return file.getvalue()

    def close(self) -> None:
        """Let every file go."""
        with self._lock:
            for opened in self._open.values():
                opened.zoom.source.close()
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
                    opened.zoom.source.close()

    def _take(self, name: str) -> _Opened:
        with self._lock:
            if name not in self._paths:
                raise RequestError(
                    404, f"there is no open slide {name}.", "GET /v1/slides/open?path=… opens one."
                )
            if name not in self._open:
                self._open[name] = _Opened(_zoom(open_source(self._paths[name], view=self._view)))
            self._open.move_to_end(name)
            opened = self._open[name]
            opened.readers += 1
            self._put_away()
            return opened

    def _put_away(self) -> None:
        while len(self._open) > self._most:
            _name, old = self._open.popitem(last=False)
            old.unwanted = True
            if not old.readers:
                old.zoom.source.close()


def _zoom(source: Source) -> DeepZoom:
    if source.facts.stack is None:
        return DeepZoom(source)
    return PlaneZoom(source, source.facts.stack)


def _facts(zoom: DeepZoom) -> dict[str, Any]:
    facts = zoom.source.facts
    told = {
        "name": facts.name,
        "path": facts.path,
        "width": zoom.size.width,
        "height": zoom.size.height,
        "volume": None if facts.stack is None else planes_told(facts.stack),
        "reader": facts.reader,
        "notes": list(facts.notes),
    }
    try:
        settled = settle_spacing(facts)
    except SpacingError as error:
        return {**told, "spacing_um_px": None, "spacing_from": f"{error.problem} {error.remedy}"}
    return {**told, "spacing_um_px": settled.spacing.mean, "spacing_from": settled.origin}
