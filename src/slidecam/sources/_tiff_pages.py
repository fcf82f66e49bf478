"""Boxes out of TIFF pages: only the tiles or strips that a box touches are read and decoded."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from tifffile import TIFF, TiffFile

from slidecam.errors import RefusedSourceError
from slidecam.geometry import LevelBox, Size, Spacing
from slidecam.pixels import reason
from slidecam.sources._library import DECODING_ERRORS, closed
from slidecam.sources._tiff_chain import refuse_circle
from slidecam.sources._tiff_colours import RESAVE, blank, packs_chroma, unpacked_chroma
from slidecam.sources.overview import overlap, window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import BinaryIO

    from numpy.typing import NDArray

# tifffile logs what it finds odd; without any handler Python prints that to the user's terminal. A
# null handler takes that last resort away: whoever configures logging still gets every record.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_JPEG_COMPRESSIONS = {6, 7, 34892, 33007}
_PLANES_APART = 2
_BYTES = {8, 16}
_OLD_JPEG = 6
_ONE_DIALECT = {1, 5, 8, 32773, 32946, 50000}
"""Plain, LZW, deflate in both numbers, PackBits and zstd."""

_TRIED_BYTES = 2**26
"""Larger segments are not decoded on opening only to see whether they can be."""

_ORIENTATION = 274
_LYING, _FROM_RIGHT, _FROM_BOTTOM = {5, 6, 7, 8}, {2, 3, 7, 8}, {3, 4, 6, 7}
"""TIFF's orientations whose stored rows are columns, begin at the right, and at the bottom."""
_KINDS = ("ome", "svs", "ndpi", "scn", "philips", "bif", "qpi")

_NDPI_MARK = 65420
"""Hamamatsu's tag that every NDPI has."""

_FOCAL_OFFSET = 65424


def kinds_of(opened: Callable[[], BinaryIO]) -> frozenset[str]:
    """Return tifffile's kinds of a TIFF: some of ome, svs, ndpi, scn, philips, bif, qpi."""
    try:
        with opened() as stream, open_tiff(stream) as tiff:
            kinds = {kind for kind in _KINDS if getattr(tiff, f"is_{kind}")}
            return frozenset(kinds)
    except DECODING_ERRORS:
        return frozenset()


def focal_planes_of(opened: Callable[[], BinaryIO]) -> int:
    """Return how many focal planes an NDPI holds, by the offsets that its largest pages name."""
    try:
        with opened() as stream, open_tiff(stream) as tiff:
            first: Any = tiff.pages.first
            offsets: set[int] = set()
            for page in tiff.pages:
                if page.shape == first.shape:
                    offsets.add(int(page.aspage().tags.valueof(_FOCAL_OFFSET, 0)))
            return max(1, len(offsets))
    except DECODING_ERRORS:
        return 1


def open_tiff(stream: BinaryIO) -> TiffFile:
    """Open a TIFF from its beginning; TiffFileError if its pages have no end.

    By the name .ndpi tifffile takes any TIFF for one with Hamamatsu's 64-bit offsets.
    """
    tiff = TiffFile(stream)
    if tiff.tiff.is_ndpi and not _is_hamamatsus(tiff):
        stream.seek(0)
        tiff = TiffFile(stream, is_ndpi=False)
    refuse_circle(tiff)
    return tiff


def _is_hamamatsus(tiff: TiffFile) -> bool:
    try:
        return _NDPI_MARK in tiff.pages.first.tags
    except DECODING_ERRORS:
        return False


@dataclass(frozen=True)
class PageRaster:
    """One picture of a level: its pages (one for all channels, or one per channel) and its size.

    Attributes
    ----------
    pages
        As stored.
    size
        Width and height upright.
    orientation
        TIFF's number of how it is stored; 1 is upright.
    samples
        Which samples of a page are read, and in which order; None for all.
    """

    pages: tuple[Any, ...]
    size: Size
    orientation: int = 1
    samples: tuple[int, ...] | None = None

    @classmethod
    def of(cls, pages: Sequence[Any], orientation: int = 1) -> PageRaster:
        """Return the picture of ``pages``; ``orientation`` holds where they say none."""
        keyframe = pages[0].keyframe
        said = keyframe.tags.valueof(_ORIENTATION, orientation)
        if said not in range(1, 9):
            said = 1
        size = Size(keyframe.imagewidth, keyframe.imagelength)
        return cls(tuple(pages), _turned(size, said), said)

    @property
    def readings(self) -> tuple[str, ...]:
        """That it is turned, as a sentence; nothing where it is stored upright."""
        if self.orientation == 1:
            return ()
        said = f"The picture is turned upright, as its Orientation tag ({self.orientation}) says;"
        return (f"{said} programs that leave it as stored show other places.",)

    def spacing(self, stored: Spacing) -> Spacing:
        """Return µm per pixel upright of those along the stored columns and rows."""
        if self.orientation in _LYING:
            return Spacing(stored.y, stored.x)
        return stored

    @property
    def keyframe(self) -> Any:  # noqa: ANN401 - tifffile's page classes have no common type
        """The page whose tags hold for all."""
        return self.pages[0].keyframe

    @property
    def channels(self) -> int:
        """How many samples of a pixel `PageReader.read` returns."""
        per_page = self.samples or range(self.keyframe.samplesperpixel)
        return len(self.pages) * len(per_page)

    def is_absent(self, box: LevelBox) -> bool:
        """Whether the file leaves out all tiles or strips that a box touches."""
        indices = list(_segments(self.keyframe, self.stored(box)))
        for page in self.pages:
            for index in indices:
                if page.dataoffsets[index] and page.databytecounts[index]:
                    return False
        return True

    @property
    def native(self) -> Size:
        """The size of one tile, or of one strip, upright."""
        page = self.keyframe
        if page.is_tiled:
            return _turned(Size(page.tilewidth, page.tilelength), self.orientation)
        rows = min(page.rowsperstrip, page.imagelength)
        if _rows_are_apart(page):
            rows = 1
        return _turned(Size(page.imagewidth, rows), self.orientation)

    def stored(self, box: LevelBox) -> LevelBox:
        """Return where the pixels of an upright box are stored."""
        x, y, width, height = box.x, box.y, box.width, box.height
        if self.orientation in _LYING:
            x, y, width, height = y, x, height, width
        if self.orientation in _FROM_RIGHT:
            x = self.keyframe.imagewidth - x - width
        if self.orientation in _FROM_BOTTOM:
            y = self.keyframe.imagelength - y - height
        return LevelBox(x, y, width, height)

    def upright(self, samples: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return stored samples (height, width, channels) upright."""
        if self.orientation in _FROM_RIGHT:
            samples = samples[:, ::-1]
        if self.orientation in _FROM_BOTTOM:
            samples = samples[::-1]
        if self.orientation in _LYING:
            samples = samples.swapaxes(0, 1)
        return np.ascontiguousarray(samples)


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
        stored = raster.stored(box)
        parts = [self._read_page(page, stored) for page in raster.pages]
        if raster.samples is not None:
            return raster.upright(parts[0][:, :, raster.samples])
        if len(parts) == 1:
            return raster.upright(parts[0])
        return raster.upright(np.concatenate(parts, axis=2))

    def refuse_undecodable(self, raster: PageRaster) -> None:
        """Decode one segment, and raise `RefusedSourceError` where no codec here can.

        What is only damaged is let pass: other segments may be sound.
        """
        page, keyframe = raster.pages[0], raster.keyframe
        present = [at for at, count in enumerate(page.databytecounts) if count]
        size = raster.native.width * raster.native.height * keyframe.samplesperpixel
        if not present or size > _TRIED_BYTES or _is_decoded_for_sure(keyframe):
            return
        data = self._bytes(page.dataoffsets[present[0]], page.databytecounts[present[0]])
        try:
            if data is not None:
                _decoded(page, data, present[0])
        except DECODING_ERRORS as error:
            if not _is_unsupported(keyframe, error):
                return
            problem = f"The pixels cannot be decoded: {reason(error)}."
            if keyframe.compression == _OLD_JPEG:
                problem = f"Old-style JPEG of this kind cannot be decoded: {reason(error)}."
            raise RefusedSourceError(self._path, problem, RESAVE) from error

    def _read_page(self, page: Any, box: LevelBox) -> NDArray[np.generic]:  # noqa: ANN401 - as above
        keyframe = page.keyframe
        pixels = np.empty((box.height, box.width, keyframe.samplesperpixel), keyframe.dtype)
        pixels[:] = blank(keyframe)
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
        decoded, plane, top, left = _decoded(page, data, index)
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


def _decoded(page: Any, data: bytes, index: int) -> tuple[NDArray[np.generic], int, int, int]:  # noqa: ANN401
    """Return a segment's pixels, (rows, columns, samples), and its plane, top and left."""
    keyframe = page.keyframe
    if packs_chroma(keyframe):
        pixels, top, left = _unpacked(keyframe, data, index)
        return pixels, 0, top, left
    decoded, (plane, _, top, left, _), _ = keyframe.decode(data, index, **_tables(page))
    return decoded[0], plane, top, left  # imagedepth is 1: volumes are refused


def _unpacked(keyframe: Any, data: bytes, index: int) -> tuple[NDArray[np.generic], int, int]:  # noqa: ANN401
    """Return a segment of subsampled chroma, its top and left."""
    width, height = keyframe.imagewidth, keyframe.rowsperstrip
    if keyframe.is_tiled:
        width, height = keyframe.tilewidth, keyframe.tilelength
    row, column = divmod(index, -(-keyframe.imagewidth // width))
    if not keyframe.is_tiled:
        height = min(height, keyframe.imagelength - row * height)
    if keyframe.fillorder != 1:
        data = bytes(imagecodecs.bitorder_decode(data))
    if keyframe.compression != 1:
        data = bytes(TIFF.DECOMPRESSORS[keyframe.compression](data))
    top = row * (keyframe.tilelength or keyframe.rowsperstrip)
    return unpacked_chroma(keyframe, data, width, height), top, column * width


def _is_decoded_for_sure(keyframe: Any) -> bool:  # noqa: ANN401 - as above
    """Whether there is one dialect of its compression, which all that is not damaged is in."""
    return keyframe.compression in _ONE_DIALECT and keyframe.predictor in {1, 2}


def _is_unsupported(keyframe: Any, error: Exception) -> bool:  # noqa: ANN401 - as above
    """Whether it is no damage that kept a segment from being decoded.

    Old-style JPEG came in so many dialects that what cannot be read of it is one more of them.
    """
    if keyframe.compression == _OLD_JPEG or isinstance(error, NotImplementedError | ImportError):
        return True
    said = str(error).lower()
    # libjpeg's "unsupported marker" is a damaged one
    words = ("not support", "unsupported", "not implemented")
    return "marker" not in said and any(word in said for word in words)


def _turned(size: Size, orientation: int) -> Size:
    if orientation in _LYING:
        return Size(size.height, size.width)
    return size


def same_file(pages: Sequence[Any], tiff: TiffFile) -> bool:
    """Whether all pages are there and lie in the file that was opened."""
    return all(page is not None and page.parent is tiff for page in pages)
