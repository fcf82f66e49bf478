"""A volume's samples on disk, read slab by slab along any axis in bounded memory.

What is compressed, or spread over files, is unpacked once into a temporary file: gzip has no way to
jump to a slice, and the window's statistics, the foreground and the stream each need the whole
volume, along an axis that need not be the file's slowest. (An index into the gzip stream, as
indexed_gzip keeps, would unpack the file anew for each of them, and for every slab along the other
axes.) Samples are read with plain reads and never mapped, so that the process does not grow with
the file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import RefusedSourceError
from slidecam.parsing import whole_number
from slidecam.pixels import to_uint8
from slidecam.sources._library import repeated
from slidecam.sources._ranges import note_on_bits
from slidecam.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.sources._probe import Probe
    from slidecam.sources.volume_grid import VolumeGrid

BLOCK_BYTES = 8_000_000
"""Samples that are read at once where a slab does not lie in one piece."""

COPY_BYTES = 1 << 20
DEFLATE_AT_MOST = 1032
"""Bytes that one byte of gzip may hold."""

PER_CENT = 100
NEARLY_ALL = 0.995
"""From this share of voxels on, two digits of a percentage say 100."""

COLOURS = 3
SLOWEST = 2
"""The axis k, whose planes follow each other in a file."""

NONE_BROKEN: Mapping[int, str] = MappingProxyType({})


@dataclass(frozen=True)
class VoxelLayout:
    """How samples lie in their file.

    Attributes
    ----------
    grid
        Shape (i, j, k), i fastest, and place in the world.
    dtype
        Of one sample, byte order included.
    bands
        Samples of a voxel: 1, or 3 and 4 of colour (alpha is left out).
    slope, intercept
        Intensity = slope * sample + intercept.
    """

    grid: VolumeGrid
    dtype: np.dtype[np.generic]
    bands: int = 1
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def plane_bytes(self) -> int:
        """Bytes of one (i, j) plane."""
        return self.grid.shape[0] * self.grid.shape[1] * self.bands * self.dtype.itemsize

    @property
    def colour_bits(self) -> int:
        """Bits of the largest colour: of its type, without the one for a sign."""
        bits = 8 * self.dtype.itemsize
        if self.dtype.kind == "i":
            return bits - 1
        return bits

    @property
    def total_bytes(self) -> int:
        """Bytes of the volume."""
        return self.plane_bytes * self.grid.shape[2]

    def colours(self, path: str) -> tuple[str, ...]:
        """Return the reading of colours that are scaled; RefusedSourceError for fractions."""
        if self.bands < COLOURS:
            return ()
        if self.dtype.kind == "f":
            problem = "Its colours are fractions, of a range that it does not say."
            remedy = "Save them with 8 or 16 bits, from black to the largest value."
            raise RefusedSourceError(path, problem, remedy)
        return note_on_bits(self.colour_bits)


class Voxels:
    """The samples of one volume.

    Parameters
    ----------
    layout
        How they lie.
    path, offset
        The file that holds them as they are, and where in it they begin; or
    unpack
        What yields their bytes in order. They are unpacked when they are first read.
    broken
        What ``unpack`` fills: planes along the slowest axis that it could not read, and the reason
        of each. Such a plane holds no data.
    lowest
        What ``unpack`` fills where it leaves not-a-number for voxels outside of the picture: the
        intensities of which the lowest stands for them.
    """

    def __init__(
        self,
        layout: VoxelLayout,
        path: Path | None = None,
        offset: int = 0,
        unpack: Callable[[], Iterator[bytes]] | None = None,
        broken: Mapping[int, str] = NONE_BROKEN,
        lowest: Collection[float] = (),
    ) -> None:
        self.layout = layout
        self._broken, self._lowest = broken, lowest
        self._path, self._offset, self._unpack = path, offset, unpack
        self._spool: Spool | None = None
        self._lock = Lock()
        self._failure: Exception | None = None

    @property
    def is_colour(self) -> bool:
        """Whether voxels are colours and not intensities."""
        return self.layout.bands >= COLOURS

    @property
    def broken(self) -> Mapping[int, str]:
        """The planes along the file's slowest axis that cannot be read, and why.

        All of a packed volume is unpacked to say so.
        """
        self._ready()
        return self._broken

    @property
    def spooled_bytes(self) -> int:
        """Bytes of the temporary file that a packed volume was unpacked into."""
        return 0 if self._spool is None else self.layout.total_bytes

    def slab(self, axis: int, start: int, stop: int) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Return voxels ``start`` to ``stop`` along one axis of the file and all along the others.

        Returns
        -------
        ndarray
            float32, (i, j, k) in the file's order; uint8, (i, j, k, 3) of colours.
        """
        where = _along(axis, start, stop)
        parts = [block[where] for block in self._blocks(self._ready(), axis, start, stop)]
        stored = parts[0]
        if len(parts) > 1:
            stored = np.concatenate(parts)
        return self._meaning(np.swapaxes(stored, 0, 2))

    def _blocks(
        self,
        path: Path,
        axis: int,
        start: int,
        stop: int,
    ) -> Iterator[NDArray[np.generic]]:
        """Yield (k, j, i[, bands]) blocks that hold the slab.

        Its planes, or along i and j all of them.
        """
        first, last = 0, self.layout.grid.shape[2]
        if axis == SLOWEST:
            first, last = start, stop
        step = max(1, BLOCK_BYTES // max(1, self.layout.plane_bytes))
        with path.open("rb") as stream:
            stream.seek(self._offset + first * self.layout.plane_bytes)
            for plane in range(first, last, step):
                yield self._block(stream.read(min(step, last - plane) * self.layout.plane_bytes))

    def _block(self, content: bytes) -> NDArray[np.generic]:
        if not content or len(content) % self.layout.plane_bytes:
            raise EOFError("the file ends before its last slice")
        columns, rows, _planes = self.layout.grid.shape
        samples = np.frombuffer(content, self.layout.dtype)
        if self.layout.bands == 1:
            return samples.reshape(-1, rows, columns)
        return samples.reshape(-1, rows, columns, self.layout.bands)

    def _meaning(self, stored: NDArray[np.generic]) -> NDArray[np.float32] | NDArray[np.uint8]:
        if self.is_colour:
            colours = stored[..., :COLOURS]
            return np.ascontiguousarray(to_uint8(colours, self.layout.colour_bits))
        values = stored.astype(np.float32)
        if (self.layout.slope, self.layout.intercept) != (1.0, 0.0):
            values *= np.float32(self.layout.slope)
            values += np.float32(self.layout.intercept)
        if self._lowest:
            values[np.isnan(values)] = min(self._lowest)
        return values

    def _ready(self) -> Path:
        with self._lock:
            if self._failure is not None:
                raise repeated(self._failure)
            if self._path is not None:
                return self._path
            if self._spool is None:
                self._spool = self._spooled()
            return self._spool.path

    def _spooled(self) -> Spool:
        if self._unpack is None:
            raise ValueError("the volume was closed")
        spool = Spool()
        try:
            with spool.writing() as write:
                written = sum(map(write, self._unpack()))
            _refuse_short(written, self.layout.total_bytes)
        except BaseException as error:
            spool.remove()
            # A volume that failed once is not unpacked again for each of its slices.
            self._failure = repeated(error)
            raise
        return spool

    def close(self) -> None:
        """Remove what was unpacked."""
        with self._lock:
            self._path, self._unpack = None, None
            if self._spool is not None:
                self._spool.remove()
            self._spool = None


def refuse_short(path: Path, offset: int, wanted: int, packing: str) -> None:
    """Refuse a file that cannot hold its samples, however well they are packed.

    Parameters
    ----------
    path, offset
        The file, and where its samples begin in it, unpacked where that is packed.
    wanted
        Bytes of them.
    packing
        ``raw``, or that of the format.

    Raises
    ------
    EOFError
        If it ends before its last slice.
    """
    most = {"raw": 1, "gzip": DEFLATE_AT_MOST, "gz": DEFLATE_AT_MOST}.get(packing)
    size = path.stat().st_size
    if most is not None and size * most < wanted + offset * (packing == "raw"):
        raise EOFError(f"the file ends before its last slice: its header says {wanted} bytes")


def words_beyond(path: Path, before: int, wanted: int, packing: str, plane: int) -> tuple[str, ...]:
    """Return the reading on slices behind those that a header counts, where a file has such.

    Parameters
    ----------
    path, wanted, packing
        As of `refuse_short`.
    before
        Bytes before its samples, once unpacked.
    plane
        Bytes of a slice, or of what may follow samples and is none.
    """
    beyond = _bytes_beyond(path, before + wanted, packing) // plane
    if beyond < 1:
        return ()
    said = "Its file goes on behind the slices that its header counts, for as much as"
    return (f"{said} {beyond} more: that is left out.",)


def _bytes_beyond(path: Path, counted: int, packing: str) -> int:
    """Return how many bytes a file holds, unpacked, behind so many; 0 where nothing says so."""
    size = path.stat().st_size
    if packing == "raw":
        return size - counted
    if packing not in {"gzip", "gz"}:
        return 0
    with path.open("rb") as stream:  # its last bytes say how many there were, modulo 4 GB
        stream.seek(-4, os.SEEK_END)
        beyond = (int.from_bytes(stream.read(4), "little") - counted) % 2**32
    if beyond > size * DEFLATE_AT_MOST - counted:  # it does not end with its own count
        return 0
    return beyond


def _refuse_short(written: int, wanted: int) -> None:
    if written < wanted:
        raise EOFError("the file ends before its last slice")


def _along(axis: int, start: int, stop: int) -> tuple[slice, ...]:
    """Return the index of a slab in a (k, j, i[, bands]) block.

    Along k the block is the slab already.
    """
    where = [slice(None)] * 3
    if axis != SLOWEST:
        where[2 - axis] = slice(start, stop)
    return tuple(where)


def not_numbers_words(share: float) -> str:
    """Return what a person should know of voxels that are no numbers, by their share of all."""
    how_many = f"About {PER_CENT * share:.2g} %"
    if share == 1:
        how_many = "All"
    elif share >= NEARLY_ALL:
        how_many = "Nearly all"
    return f"{how_many} of its voxels are no numbers (NaN or infinite); they are shown as air."


NAMED = 8
"""Volumes of a file that a reading names."""


def chosen_volume(
    probe: Probe,
    count: int,
    names: Sequence[str] = (),
    what: str = "volumes",
) -> tuple[int, tuple[str, ...]]:
    """Return which of a file's volumes is read, from 0, and a note on it where there are several.

    Parameters
    ----------
    probe
        Whose view may choose one by number or name.
    count
        How many there are.
    names
        What each is called, where the file says what tells them apart.
    what
        What they are, in the plural.

    Raises
    ------
    RefusedSourceError
        If there is no such volume.
    """
    wanted = probe.view.volume
    known = [name.casefold() for name in names]
    number, named = 0, whole_number(wanted or "")
    if named is not None and named < count:
        number = named
    elif wanted is not None and known.count(wanted.casefold()) == 1:
        number = known.index(wanted.casefold())
    elif wanted is not None:
        problem = f"There is no volume {wanted!r} among its {count}."
        remedy = f"Pass --volume 0 to {count - 1}{_listed(names)}."
        raise RefusedSourceError(probe.given, problem, remedy)
    if count == 1:
        return number, ()
    hint, which = "", f"volume {number}"
    if names and names[number]:
        which = f"{which} ({names[number]})"
    if wanted is None:
        hint = f"; pass --volume to read another{_listed(names)}"
    return number, (f"It holds {count} {what}: {which} is read{hint}.",)


def _listed(names: Sequence[str]) -> str:
    """Return the numbers and names of volumes in brackets; nothing where they have none."""
    if not any(names):
        return ""
    said = [f"{number}: {name}" for number, name in enumerate(names[:NAMED])]
    if len(names) > NAMED:
        said.append("…")
    return f" ({'; '.join(said)})"
