"""From a grid to batches of pixels.

Every chunk decoded once, tiles cut from chunks, memory bounded.

Tiles are put in an order that walks the level in stripes of `STRIPE` chunks, so that the chunks two
neighbouring tiles share are still there when the second comes. Threads decode chunks and cut
batches ahead of the consumer until the memory budget is full. The order and the cut into batches
depend on the slide, the grid and the batch size alone, never on timing or on memory: a resumed run
meets the same batches.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain, islice, product
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from PIL import Image

from slidecam.errors import RegionReadError
from slidecam.pixels import RESAMPLING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from slidecam.geometry import LevelBox
    from slidecam.sources import Source
    from slidecam.tiling import TileGrid

STRIPE = 16
"""Width of a stripe in chunks.

Two rows of it are about 100 MB of RGB, and one tile in 16 meets a stripe's border.
"""

LEAVE_SECONDS = 2.0
"""How long whoever stops waits for threads that read: a share that is gone never answers them."""

Chunk = tuple[int, int, int, int]
"""Plane, stripe, row and column of a decoding chunk.

The stripe is that of the tiles that need it: a chunk on the border of two stripes is decoded for
each of them, or it would wait for the whole height of the slide.
"""


@dataclass(frozen=True)
class StreamSpec:
    """How tiles are brought.

    Attributes
    ----------
    batch_size
        Tiles per batch.
    workers
        Threads that decode and cut.
    memory_mb
        What decoded chunks and waiting batches may take, in 10⁶ bytes. One batch and its chunks
        always fit.
    interpolation
        The one resize: ``bilinear``, ``bicubic`` or ``nearest``, with Pillow's antialiasing.
    """

    batch_size: int
    workers: int = 4
    memory_mb: int = 512
    interpolation: str = "bilinear"


@dataclass(frozen=True)
class TileFailure:
    """One tile that could not be read: its row in the grid, and the reason."""

    row: int
    reason: str


@dataclass(frozen=True)
class TileBatch:
    """One batch of tiles.

    Attributes
    ----------
    index
        Which batch of the slide this is.
    rows
        int64, (tiles,): rows of the grid.
    pixels
        uint8, (tiles, input_px, input_px, 3). A failed tile's pixels are black and mean nothing.
    failures
        The tiles of this batch that could not be read.
    decode_seconds
        Thread seconds spent decoding and cutting for this batch.
    """

    index: int
    rows: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    failures: tuple[TileFailure, ...]
    decode_seconds: float


def plan_batches(source: Source, grid: TileGrid, batch_size: int) -> list[NDArray[np.int64]]:
    """Return the rows of each batch, in the order in which they are streamed."""
    if not len(grid):
        return []
    under = _spans(source, grid)
    stripe = under.left // STRIPE
    order = np.lexsort(
        (grid.boxes[:, 0], grid.boxes[:, 1], under.left, under.top, stripe, grid.planes)
    )
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


@dataclass(frozen=True)
class _Spans:
    """The chunks under each tile, int64, (tiles,).

    Its plane, first and last row and column, both included.
    """

    plane: NDArray[np.int64]
    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]

    def chunks_of(self, rows: NDArray[np.int64]) -> dict[Chunk, None]:
        """Return the chunks under these tiles, each once, in reading order."""
        chunks: dict[Chunk, None] = {}
        sides = (self.plane, self.top, self.bottom, self.left, self.right)
        for plane, top, bottom, left, right in np.stack(sides, axis=1)[rows].tolist():
            for row, column in product(range(top, bottom + 1), range(left, right + 1)):
                chunks[plane, left // STRIPE, row, column] = None
        return chunks


def _spans(source: Source, grid: TileGrid) -> _Spans:
    chunk, size = source.facts.chunk[grid.level.index], grid.level.size
    corners = np.rint(grid.boxes[:, :2] / grid.level.downsample).astype(np.int64)
    width, height = 1, 1
    if len(grid):
        edge = grid.level_box(0)
        width, height = edge.width, edge.height
    first_x, last_x = (
        np.clip(corners[:, 0], 0, size.width - 1),
        np.clip(corners[:, 0] + width - 1, 0, size.width - 1),
    )
    first_y, last_y = (
        np.clip(corners[:, 1], 0, size.height - 1),
        np.clip(corners[:, 1] + height - 1, 0, size.height - 1),
    )
    rows, columns = (
        (first_y // chunk.height, last_y // chunk.height),
        (first_x // chunk.width, last_x // chunk.width),
    )
    return _Spans(grid.planes, *rows, *columns)


def stream_tiles(source: Source, grid: TileGrid, spec: StreamSpec) -> Iterator[TileBatch]:
    """Yield every tile of a slide, batch by batch; closing the generator stops decoding.

    Examples
    --------
    >>> for batch in stream_tiles(source, grid, StreamSpec(batch_size=16)):
    ...     batch.pixels.shape
    """
    batches = list(enumerate(plan_batches(source, grid, spec.batch_size)))
    with TileStream(source, grid, batches, spec) as stream:
        yield from stream


class TileStream:
    """Batches of one slide, prefetched from the moment the stream is made.

    Iterate once; closing it early (or leaving its ``with`` block) cancels what has not been
    decoded.

    Parameters
    ----------
    source, grid
        The slide and its tiles.
    batches
        The rows of each batch that is still wanted, from `plan_batches`, with their indices.
    spec
        Batch size, threads and memory.

    Attributes
    ----------
    blocked
        Whether a thread was still reading when the stream was closed: the source may not be closed
        under it.
    """

    def __init__(
        self,
        source: Source,
        grid: TileGrid,
        batches: Sequence[tuple[int, NDArray[np.int64]]],
        spec: StreamSpec,
    ) -> None:
        self._cutter = _Cutter(source, grid, spec)
        spans = _spans(source, grid)
        self._needs = {index: spans.chunks_of(rows) for index, rows in batches}
        self._users = Counter(chain.from_iterable(self._needs.values()))
        self._waiting = deque(batches)
        self._pool = ThreadPoolExecutor(spec.workers, thread_name_prefix="slidecam-decode")
        self._chunks: dict[Chunk, Future[_Decoded]] = {}
        self._ready: deque[Future[TileBatch]] = deque()
        self._budget = spec.memory_mb * 1_000_000
        self.blocked = False
        self._fill()

    def __iter__(self) -> Iterator[TileBatch]:
        while self._ready:
            batch = self._ready.popleft().result()
            self._release(batch.index)
            self._fill()
            yield batch

    def is_ready(self, seconds: float, batches: int = 1) -> bool:
        """Wait for the next batches, no longer than some seconds; return whether they are there."""
        return not wait(islice(self._ready, batches), seconds).not_done

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what waits and let go of every chunk.

        Threads that are decoding finish first, but for those that are blocked in a read: they are
        left alone after `LEAVE_SECONDS`, and ``blocked`` says so.
        """
        self._waiting.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)
        jobs: list[Future[Any]] = [*self._chunks.values(), *self._ready]
        running = [job for job in jobs if job.running()]
        self.blocked = bool(wait(running, LEAVE_SECONDS).not_done)
        self._ready.clear()
        self._chunks.clear()

    def _fill(self) -> None:
        while self._waiting and (not self._ready or self._bytes() < self._budget):
            index, rows = self._waiting.popleft()
            needed = self._needs[index]
            # Decoding is queued before the cut that waits for it, so that the pool's queue cannot
            # lock itself.
            fresh = [key for key in needed if key not in self._chunks]
            for key in fresh:
                self._chunks[key] = self._pool.submit(self._cutter.decode, key)
            chunks = {key: self._chunks[key] for key in needed}
            self._ready.append(self._pool.submit(self._cutter.cut, index, rows, chunks, fresh))

    def _release(self, index: int) -> None:
        for key in self._needs.pop(index):
            self._users[key] -= 1
            if not self._users[key]:
                del self._chunks[key], self._users[key]

    def _bytes(self) -> int:
        return (
            len(self._chunks) * self._cutter.chunk_bytes
            + len(self._ready) * self._cutter.batch_bytes
        )


@dataclass(frozen=True)
class _Decoded:
    pixels: NDArray[np.uint8] | None
    seconds: float


class _Cutter:
    """What the threads do: decode one chunk, or cut one batch from decoded chunks."""

    def __init__(self, source: Source, grid: TileGrid, spec: StreamSpec) -> None:
        self._source, self._grid = source, grid
        self._resampling = RESAMPLING[spec.interpolation]
        self._level = grid.level.index
        self._chunk = source.facts.chunk[self._level]
        self.chunk_bytes = self._chunk.width * self._chunk.height * 3
        self.batch_bytes = spec.batch_size * grid.input_px**2 * 3

    def decode(self, key: Chunk) -> _Decoded:
        """Decode one chunk.

        A chunk that fails twice is empty, and its tiles are then read one by one.
        """
        start = time.perf_counter()
        plane, _stripe, row, column = key
        box = self._source.chunk_box(self._level, row, column)
        for _attempt in range(2):
            try:
                return _Decoded(
                    self._source.read(self._level, box, plane=plane),
                    time.perf_counter() - start,
                )
            except RegionReadError:
                continue
        return _Decoded(None, time.perf_counter() - start)

    def cut(
        self,
        index: int,
        rows: NDArray[np.int64],
        chunks: dict[Chunk, Future[_Decoded]],
        fresh: Sequence[Chunk],
    ) -> TileBatch:
        """Cut and resize every tile of a batch.

        The seconds of ``fresh`` chunks are put to its account.
        """
        decoded = {key: future.result() for key, future in chunks.items()}
        by_place = {
            (plane, row, column): chunk.pixels for (plane, _, row, column), chunk in decoded.items()
        }
        start = time.perf_counter()
        edge = self._grid.input_px
        pixels = np.zeros((len(rows), edge, edge, 3), np.uint8)
        failures = []
        for place, row in enumerate(rows):
            try:
                pixels[place] = self._resized(self._crop(int(row), by_place))
            except RegionReadError as error:
                failures.append(TileFailure(int(row), str(error)))
        seconds = time.perf_counter() - start + sum(decoded[key].seconds for key in fresh)
        return TileBatch(index, rows, pixels, tuple(failures), seconds)

    def _under(self, box: LevelBox) -> Iterator[tuple[int, int]]:
        inside = box.clipped(self._grid.level.size)
        if not (inside.width and inside.height):
            return
        for row in range(
            inside.y // self._chunk.height, (inside.bottom - 1) // self._chunk.height + 1
        ):
            for column in range(
                inside.x // self._chunk.width,
                (inside.right - 1) // self._chunk.width + 1,
            ):
                yield row, column

    def _crop(
        self, tile: int, decoded: dict[tuple[int, int, int], NDArray[np.uint8] | None]
    ) -> NDArray[np.uint8]:
        box, plane = self._grid.level_box(tile), int(self._grid.planes[tile])
        crop = np.full((box.height, box.width, 3), self._grid.fill, np.uint8)
        for key in self._under(box):
            pixels = decoded[plane, *key]
            if pixels is None:
                return self._source.read(self._level, box, self._grid.fill, plane)
            _paste(crop, box, pixels, self._source.chunk_box(self._level, *key))
        return crop

    def _resized(self, crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
        edge = self._grid.input_px
        if crop.shape[:2] == (edge, edge):
            return crop
        return np.asarray(Image.fromarray(crop).resize((edge, edge), self._resampling))


def _paste(
    crop: NDArray[np.uint8], box: LevelBox, pixels: NDArray[np.uint8], place: LevelBox
) -> None:
    left, right = max(box.x, place.x), min(box.right, place.right)
    top, bottom = max(box.y, place.y), min(box.bottom, place.bottom)
    crop[top - box.y : bottom - box.y, left - box.x : right - box.x] = pixels[
        top - place.y : bottom - place.y, left - place.x : right - place.x
    ]
