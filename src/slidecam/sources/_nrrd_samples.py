"""Where the samples of an NRRD lie: behind its header or in a file beside it, packed or not."""

from __future__ import annotations

import bz2
import gzip
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import nrrd
import numpy as np
from nrrd.errors import NRRDError

from slidecam.sources._voxels import COPY_BYTES, VoxelLayout, Voxels

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

PACKED: dict[str, Any] = {
    "gzip": gzip.open,
    "gz": gzip.open,
    "bzip2": bz2.open,
    "bz2": bz2.open,
}
_FILE, _BYTES, _LINES = (
    ("data file", "datafile"),
    ("byte skip", "byteskip"),
    ("line skip", "lineskip"),
)
"""Fields that say where samples lie, each with its other spelling."""


def said(header: Mapping[str, Any], names: tuple[str, ...]) -> Any:  # noqa: ANN401
    """Return what a header says under one of a field's spellings, or None."""
    return next((header[name] for name in names if name in header), None)


@dataclass(frozen=True)
class Axes:
    """Which axes of a file are space, and how many samples the others have.

    Attributes
    ----------
    space
        The three axes of space, counted from the fastest.
    bands
        StoredSamples of a colour, which the fastest axis counts; 1 where there is no colour.
    before, after
        Volumes whose voxels take turns (of list axes before space), and that follow each other.
    """

    space: tuple[int, int, int]
    bands: int
    before: int
    after: int


@dataclass(frozen=True)
class StoredSamples:
    """Where samples lie.

    Attributes
    ----------
    header
        The file with the header.
    file, start
        Where they begin, before they are unpacked; ``file`` is None where only pynrrd finds them.
    encoding
        ``raw``, or how they are packed.
    """

    header: Path
    file: Path | None
    start: int
    encoding: str

    @classmethod
    def found(
        cls, path: Path, header: Mapping[str, Any], offset: int, wanted: int
    ) -> StoredSamples:
        """Return where samples are: behind their header, at ``offset``, if no field says else."""
        encoding = str(header.get("encoding", "raw")).lower()
        name, skip = said(header, _FILE), int(said(header, _BYTES) or 0)
        if name is None and not skip and not said(header, _LINES):
            return cls(path, path, offset, encoding)
        if name is None or encoding != "raw" or said(header, _LINES):
            return cls(path, None, 0, encoding)
        beside = path.parent / str(name)
        if skip < 0:  # the last so many bytes are the samples
            skip = max(0, beside.stat().st_size - wanted)
        return cls(path, beside, skip, encoding)

    def voxels(self, pieces: Pieces) -> Voxels:
        """Return one volume's samples."""
        file, start = self.file, self.start
        if file is not None and self.encoding == "raw" and pieces.axes.before == 1:
            return Voxels(pieces.layout, file, start + pieces.start)
        if file is not None and self.encoding in {"raw", *PACKED}:
            stored = (file, self.encoding, start, pieces)
            return Voxels(pieces.layout, unpack=lambda: pieces.of(_stored(*stored)))
        return Voxels(pieces.layout, unpack=lambda: pieces.of(_by_pynrrd(self.header, pieces)))


@dataclass(frozen=True)
class Pieces:
    """One volume's bytes among those of all volumes of a file."""

    axes: Axes
    number: int
    layout: VoxelLayout

    @property
    def start(self) -> int:
        """Bytes before the volume, or before those whose voxels take turns with its own."""
        return self.number // self.axes.before * self.count

    @property
    def count(self) -> int:
        """Bytes from there to the end of the volume."""
        return self.layout.total_bytes * self.axes.before

    def of(self, stored: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the volume's own bytes of those that lie together."""
        if self.axes.before == 1:
            yield from stored
            return
        every, mine = self.axes.before, self.number % self.axes.before
        width, rest = self.layout.dtype.itemsize * self.axes.before, b""
        for piece in stored:
            content = rest + piece
            whole = len(content) // width * width
            samples = np.frombuffer(content[:whole], self.layout.dtype).reshape(-1, every)
            yield samples[:, mine].tobytes()
            rest = content[whole:]


def _stored(path: Path, encoding: str, offset: int, pieces: Pieces) -> Iterator[bytes]:
    """Yield a part of what follows the header, unpacked."""
    with path.open("rb") as stream:
        stream.seek(offset)
        if encoding == "raw":
            stream.seek(pieces.start, os.SEEK_CUR)
            yield from _read(stream, pieces.count)
            return
        with cast("BinaryIO", PACKED[encoding](stream, "rb")) as packed:
            packed.seek(pieces.start)
            yield from _read(packed, pieces.count)
            while packed.read(COPY_BYTES):  # the checksum at the end shows damage only now
                pass


def _read(stream: BinaryIO, count: int) -> Iterator[bytes]:
    while count > 0:
        piece = stream.read(min(COPY_BYTES, count))
        if not piece:
            return
        count -= len(piece)
        yield piece


def _by_pynrrd(path: Path, pieces: Pieces) -> Iterator[bytes]:
    """Yield the samples of text and of data in other files, which pynrrd reads whole.

    Raises
    ------
    ValueError
        If pynrrd cannot read them: its own error is known to nobody else.
    """
    try:
        samples, _header = nrrd.read(str(path), index_order="C")
    except NRRDError as error:
        raise ValueError(f"its samples cannot be read: {error}") from error
    # index order "C" is the file's own, slowest first; what is not native is put back as the layout
    # says it lies
    stored = np.ascontiguousarray(samples, pieces.layout.dtype).reshape(-1).view(np.uint8)
    yield stored[pieces.start : pieces.start + pieces.count].tobytes()
