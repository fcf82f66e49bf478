"""Deep Zoom tiles of a slide or of a volume's planes, with bounded memory.

They are cut from the pyramid level that is fine enough. Level ``L`` of ``max_level`` has the
slide's size divided by ``2 ** (max_level - L)``, rounded up; tiles of it are `TILE` pixels, without
overlap. Where the file has no level near that size, coarse tiles come from one small picture of the
whole slide, since the file would be decoded whole for each of them.

A volume's plane is one small picture, shown with square pixels.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from slidecam.geometry import LevelBox, Size, nearest_better_level
from slidecam.server.callers import Caller
from slidecam.server.guard import RequestError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.sources import Source
    from slidecam.sources.volume_grid import PlaneStack

TILE = 512
WHOLE = 2048
"""Longest side of the picture that coarse tiles are cut from."""

NEAR = 4
"""How much finer than a tile the file's own level may be and still be read for it."""

MOST_READ = 4096 * 4096
"""Pixels of a level that are decoded at once; a tile that needs more is made quarter by quarter."""


class DeepZoom:
    """A slide as Deep Zoom; any thread may use it.

    Attributes
    ----------
    source
        The slide.
    size
        Of the finest level: that of level 0, where no other is given.
    """

    def __init__(self, source: Source, size: Size | None = None) -> None:
        self.source = source
        self.size = size or source.facts.size
        self.max_level = (max(self.size.width, self.size.height) - 1).bit_length()
        self._whole: Image.Image | None = None
        self._lock = Lock()

    def xml(self) -> str:
        """Return the ``.dzi`` description."""
        size = self.size
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Image'
            ' xmlns="http://schemas.microsoft.com/deepzoom/2008" Format="jpeg" Overlap="0"'
            f' TileSize="{TILE}"><Size Width="{size.width}" Height="{size.height}"/></Image>'
        )

    def level_size(self, level: int) -> Size:
        """Return width and height of a level."""
        shrink, size = 1 << (self.max_level - level), self.size
        return Size(-(-size.width // shrink), -(-size.height // shrink))

    def tile(
        self, level: int, column: int, row: int, plane: int = 0, caller: Caller | None = None
    ) -> NDArray[np.uint8]:
        """Return a tile of a plane, uint8, (up to `TILE`, up to `TILE`, 3); a slide has one plane.

        Where the ``caller`` leaves, the rest of a tile that is made by quarters is not.

        Raises
        ------
        RequestError
            404 if there is no such tile.
        RegionReadError
            If the file is damaged there.
        """
        if plane:
            raise RequestError(404, f"There is no plane {plane}.", "A slide has plane 0 alone.")
        box, shrink = self._box(level, column, row), float(1 << (self.max_level - level))
        size = self.level_size(level)
        finest = nearest_better_level(self.source.facts.levels, shrink)
        if shrink > NEAR * finest.downsample and max(size.width, size.height) <= WHOLE:
            return self._from_whole(box, size)
        return self._from_level(box, shrink, caller or Caller())

    def _box(self, level: int, column: int, row: int) -> LevelBox:
        """Return the box of a tile on its level; RequestError 404 if there is none."""
        if not 0 <= level <= self.max_level:
            raise RequestError(
                404, f"There is no level {level}.", f"Levels are 0 to {self.max_level}."
            )
        box = LevelBox(column * TILE, row * TILE, TILE, TILE).clipped(self.level_size(level))
        if column < 0 or row < 0 or not (box.width and box.height):
            raise RequestError(
                404,
                f"There is no tile {column}_{row} on level {level}.",
                "Read the .dzi again.",
            )
        return box

    def _from_whole(self, box: LevelBox, size: Size) -> NDArray[np.uint8]:
        picture = self._whole_picture()
        across, down = picture.width / size.width, picture.height / size.height
        part = (box.x * across, box.y * down, box.right * across, box.bottom * down)
        return np.asarray(picture.resize((box.width, box.height), _filter(across), box=part))

    def _whole_picture(self) -> Image.Image:
        with self._lock:
            if self._whole is None:
                self._whole = Image.fromarray(self.source.thumbnail(WHOLE))
            return self._whole

    def _from_level(self, box: LevelBox, shrink: float, caller: Caller) -> NDArray[np.uint8]:
        """Return a box of a Deep Zoom level of that ``shrink``.

        It is read from the slide's level that is fine enough.
        """
        level = nearest_better_level(self.source.facts.levels, shrink)
        factor = shrink / level.downsample
        edges = tuple(edge * factor for edge in (box.x, box.y, box.right, box.bottom))
        left, top = int(edges[0]), int(edges[1])
        right, bottom = (
            min(_up(edges[2]), level.size.width),
            min(_up(edges[3]), level.size.height),
        )
        read = LevelBox(left, top, max(1, right - left), max(1, bottom - top))
        if read.width * read.height > MOST_READ and min(box.width, box.height) > 1:
            return self._by_quarters(box, shrink, caller)
        pixels = self.source.read(level.index, read)
        if factor == 1 and pixels.shape[:2] == (box.height, box.width):
            return pixels  # the level's own, as of all tiles that are looked at closely
        part = (edges[0] - left, edges[1] - top, edges[2] - left, edges[3] - top)
        picture = Image.fromarray(_widened(pixels, _up(part[2]), _up(part[3])))
        return np.asarray(picture.resize((box.width, box.height), _filter(factor), box=part))

    def _by_quarters(self, box: LevelBox, shrink: float, caller: Caller) -> NDArray[np.uint8]:
        pixels = np.empty((box.height, box.width, 3), np.uint8)
        across, down = box.width // 2, box.height // 2
        for y, height in ((0, down), (down, box.height - down)):
            for x, width in ((0, across), (across, box.width - across)):
                caller.stays()
                part = LevelBox(box.x + x, box.y + y, width, height)
                pixels[y : y + height, x : x + width] = self._from_level(part, shrink, caller)
        return pixels


def _widened(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Repeat the last column and row: of the last ones of a tile the slide may hold a part only."""
    missing = max(0, height - pixels.shape[0]), max(0, width - pixels.shape[1])
    if any(missing):
        return np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    return pixels


def _filter(factor: float) -> Image.Resampling:
    if factor > 1:
        return Image.Resampling.BOX
    return Image.Resampling.BILINEAR


def _up(value: float) -> int:
    return -int(-value // 1)


class PlaneZoom(DeepZoom):
    """A volume as Deep Zoom, plane by plane.

    Where voxels are no squares, planes are stretched to their true shape.

    Parameters
    ----------
    source
        The volume.
    stack
        Its planes.
    """

    def __init__(self, source: Source, stack: PlaneStack) -> None:
        _planes, rows, columns = stack.shape
        across, down = _stretch(stack)
        super().__init__(source, Size(max(1, round(columns * across)), max(1, round(rows * down))))
        self._planes = stack.shape[0]

    def tile(
        self, level: int, column: int, row: int, plane: int = 0, caller: Caller | None = None
    ) -> NDArray[np.uint8]:
        """Return a tile of a plane; see `DeepZoom.tile`."""
        if not 0 <= plane < self._planes:
            raise RequestError(
                404,
                f"There is no plane {plane}.",
                f"Planes are 0 to {self._planes - 1}.",
            )
        box, size, whole = (
            self._box(level, column, row),
            self.level_size(level),
            self.source.facts.size,
        )
        across, down = whole.width / size.width, whole.height / size.height
        part = (box.x * across, box.y * down, box.right * across, box.bottom * down)
        (caller or Caller()).stays()
        picture = Image.fromarray(
            self.source.read(0, LevelBox(0, 0, whole.width, whole.height), plane=plane)
        )
        return np.asarray(
            picture.resize((box.width, box.height), Image.Resampling.BILINEAR, box=part)
        )


def plane_facts(stack: PlaneStack) -> dict[str, Any]:
    """Return what a viewer needs to know of a volume's planes.

    They count upwards, backwards or to the left.
    """
    planes, rows, columns = stack.shape
    apart, down, across = stack.spacing_mm
    return {
        "axis": stack.axis,
        "planes": planes,
        "voxels": [columns, rows, planes],
        "spacing_mm": [across, down, apart],
        "stretch": list(_stretch(stack)),
        "positions_mm": [round(float(place), 3) for place in stack.positions],
        "missing": list(stack.missing),
    }


def _stretch(stack: PlaneStack) -> tuple[float, float]:
    """Return how many pixels a voxel is wide and high; the shorter of both is 1."""
    _apart, down, across = stack.spacing_mm
    return across / min(across, down), down / min(across, down)
