"""Boxes out of TIFF pages: only the tiles or strips that a box touches are read and decoded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from tifffile import TIFF, TiffFile

from slidecam.geometry import LevelBox, Size
from slidecam.sources._chunks import overlap, window
from slidecam.sources._library import DECODING_ERRORS, closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

# tifffile logs what it finds odd in a file; without any handler Python prints that to the user's
# terminal. A null handler only takes that last resort away: whoever configures logging still gets
# every record.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_JPEG_COMPRESSIONS = {6, 7, 34892, 33007}
_PLANES_APART = 2
_BYTES = {8, 16}
_KINDS = ("ome", "svs", "ndpi", "scn", "philips", "bif", "qpi")

_NDPI_MARK = 65420
"""Hamamatsu's tag that every NDPI has."""


def kinds_of(opened: Callable[[], BinaryIO]) -> frozenset[str]:
    """Return tifffile's kinds of a TIFF: some of ome, svs, ndpi, scn, philips, bif, qpi, tiled."""
    try:
        with opened() as stream, open_tiff(stream) as tiff:
            kinds = {kind for kind in _KINDS if getattr(tiff, f"is_{kind}")}
            if tiff.pages.first.is_tiled:
                kinds.add("tiled")
            return frozenset(kinds)
    except DECODING_ERRORS:
        return frozenset()


def open_tiff(stream: BinaryIO) -> TiffFile:
    """Open a TIFF from its beginning.

    By the name .ndpi tifffile takes any TIFF for one with Hamamatsu's 64-bit offsets.
    """
    tiff = TiffFile(stream)
    if tiff.tiff.is_ndpi and not _is_hamamatsus(tiff):
        stream.seek(0)
        return TiffFile(stream, is_ndpi=False)
    return tiff


def _is_hamamatsus(tiff: TiffFile) -> bool:
    try:
        return _NDPI_MARK in tiff.pages.first.tags
    except DECODING_ERRORS:
        return False


@dataclass(frozen=True)
class PageRaster:
    """One picture of a level: its pages (one for all channels, or one per channel) and its size."""

    pages: tuple[Any, ...]
    size: Size

    @property
    def keyframe(self) -> Any:  # noqa: ANN401 - tifffile's page classes have no common type
        """The page whose tags hold for all."""
        return self.pages[0].keyframe

    @property
    def native(self) -> Size:
        """The size of one tile, or of one strip."""
        page = self.keyframe
        if page.is_tiled:
            return Size(page.tilewidth, page.tilelength)
        if _rows_are_apart(page):
            return Size(page.imagewidth, 1)
        return Size(page.imagewidth, min(page.rowsperstrip, page.imagelength))


class PageReader:
    """Reads boxes of TIFF pages from any thread: reading by turns, decoding side by side."""

    def __init__(self, path: str, tiff: TiffFile) -> None:
        self._path = path
        self._tiff = tiff
        self._lock = Lock()
        self._closed = False

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._closed = True
            self._tiff.close()

    def read(self, raster: PageRaster, box: LevelBox) -> NDArray[np.generic]:
        """Return ``box`` as stored, (height, width, channels).

        Tiles that the file leaves out are white.
        """
        parts = [self._read_page(page, box) for page in raster.pages]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts, axis=2)

    def _read_page(self, page: Any, box: LevelBox) -> NDArray[np.generic]:  # noqa: ANN401 - as above
        keyframe = page.keyframe
        pixels = np.full(
            (box.height, box.width, keyframe.samplesperpixel),
            _white(keyframe),
            keyframe.dtype,
        )
        if _rows_are_apart(keyframe):
            for plane, rows, where in _strip_rows(page, box):
                pixels[where[0], :, plane] = self._plain_rows(page, rows, box)
            return pixels
        for index in _segments(keyframe, box):
            self._paste(page, index, box, pixels)
        return pixels

    def _paste(self, page: Any, index: int, box: LevelBox, pixels: NDArray[np.generic]) -> None:  # noqa: ANN401
        """Decode one tile or strip and copy what the box shares with it."""
        data = self._bytes(page.dataoffsets[index], page.databytecounts[index])
        if data is None:
            return
        decoded, corner, _ = page.keyframe.decode(data, index, **_tables(page))
        plane, _, top, left, _ = corner
        decoded = decoded[0]  # imagedepth is 1: _tiff refuses volumes
        tile = LevelBox(left, top, decoded.shape[1], decoded.shape[0])
        shared = overlap(tile, box)
        planes = slice(plane, plane + decoded.shape[2])
        pixels[(*window(shared, box), planes)] = decoded[window(shared, tile)]

    def _plain_rows(self, page: Any, rows: tuple[int, int], box: LevelBox) -> NDArray[np.generic]:  # noqa: ANN401
        """Return plain rows of one strip, (rows, box.width, samples), without reading all of it."""
        keyframe = page.keyframe
        samples = _samples_together(keyframe)
        dtype = np.dtype(keyframe.dtype).newbyteorder(self._tiff.byteorder)
        offset, count = rows
        row_bytes = keyframe.imagewidth * samples * dtype.itemsize
        data = self._bytes(offset, count * row_bytes) or b""
        table = np.frombuffer(data, dtype, count * keyframe.imagewidth * samples)
        return table.reshape(count, keyframe.imagewidth, samples)[:, box.x : box.right]

    def _bytes(self, offset: int, count: int) -> bytes | None:
        """Return bytes of the file, or None for a segment that the file leaves out."""
        if not offset or not count:
            return None
        with self._lock:
            if self._closed:
                raise closed(self._path)
            self._tiff.filehandle.seek(offset)
            return bytes(self._tiff.filehandle.read(count))


def _segments(keyframe: Any, box: LevelBox) -> Iterator[int]:  # noqa: ANN401 - as above
    """Yield the indices of the tiles or strips that a box touches, plane by plane."""
    width, height = keyframe.imagewidth, keyframe.rowsperstrip
    if keyframe.is_tiled:
        width, height = keyframe.tilewidth, keyframe.tilelength
    across, down = -(-keyframe.imagewidth // width), -(-keyframe.imagelength // height)
    for plane in range(keyframe.samplesperpixel // _samples_together(keyframe)):
        for row in range(box.y // height, -(-box.bottom // height)):
            for column in range(box.x // width, -(-box.right // width)):
                yield (plane * down + row) * across + column


def _strip_rows(
    page: Any,  # noqa: ANN401 - as above
    box: LevelBox,
) -> Iterator[tuple[slice, tuple[int, int], tuple[slice, slice]]]:
    """Yield the runs of plain rows that a box touches.

    Planes, (file offset, count), place in the box.
    """
    keyframe = page.keyframe
    samples = _samples_together(keyframe)
    row_bytes = keyframe.imagewidth * samples * np.dtype(keyframe.dtype).itemsize
    strips = -(-keyframe.imagelength // keyframe.rowsperstrip)
    for index in _segments(keyframe, box):
        plane, strip = divmod(index, strips)
        frame = LevelBox(box.x, strip * keyframe.rowsperstrip, box.width, keyframe.rowsperstrip)
        shared = overlap(frame, box)
        offset = page.dataoffsets[index] + (shared.y - frame.y) * row_bytes
        if page.dataoffsets[index]:
            yield (
                slice(plane, plane + samples),
                (offset, shared.height),
                window(shared, box),
            )


def _samples_together(keyframe: Any) -> int:  # noqa: ANN401 - as above
    """Return how many samples of a pixel lie beside each other."""
    if keyframe.planarconfig == _PLANES_APART:
        return 1
    return int(keyframe.samplesperpixel)


def _rows_are_apart(page: Any) -> bool:  # noqa: ANN401 - as above
    """Whether single rows can be read: strips of whole bytes, neither compressed nor predicted."""
    plain = page.compression == 1 and page.predictor == 1 and page.fillorder == 1
    return bool(
        plain and not page.is_tiled and page.bitspersample in _BYTES and not page.is_subsampled
    )


def _tables(page: Any) -> dict[str, bytes | None]:  # noqa: ANN401 - as above
    if page.keyframe.compression not in _JPEG_COMPRESSIONS:
        return {}
    return {"jpegtables": page.jpegtables, "jpegheader": page.keyframe.jpegheader}


def _white(page: Any) -> int | bool:  # noqa: ANN401 - as above
    dtype = np.dtype(page.dtype)
    if dtype.kind == "b":
        return True
    return int(np.iinfo(dtype).max)


def compression_problem(page: Any) -> str | None:  # noqa: ANN401 - as above
    """Return why the pixels of a page cannot be decoded here, or None."""
    if page.compression == 1:
        return None
    try:
        TIFF.DECOMPRESSORS[page.compression]
    except (KeyError, ValueError) as error:
        return str(error).strip("'\"")
    return None


def same_file(pages: Sequence[Any], tiff: TiffFile) -> bool:
    """Whether all pages are there and lie in the file that was opened."""
    return all(page is not None and page.parent is tiff for page in pages)
