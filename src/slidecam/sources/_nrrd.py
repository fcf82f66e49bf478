"""NRRD: pynrrd reads the header.

Samples that lie in one piece, packed or not, are read as they lie.
"""

from __future__ import annotations

import bz2
import gzip
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import nrrd
import numpy as np
from nrrd.errors import NRRDError

from slidecam.errors import RefusedSourceError
from slidecam.sources._library import opening
from slidecam.sources._probe import fingerprint_of_stream
from slidecam.sources._voxels import (
    COPY_BYTES,
    VoxelLayout,
    Voxels,
    chosen_volume,
    refuse_short,
    words_beyond,
)
from slidecam.sources.placement import assumed, refuse_flat
from slidecam.sources.volume import VolumeSource, volume_facts
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.sources._probe import Probe

_AGAIN = "Copy or convert it again."
_LPS = (-1.0, -1.0, 1.0)
_TO_RAS = {
    "left-posterior-superior": _LPS,
    "lps": _LPS,
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
}
"""Signs of the world's axes; the same spaces with a fourth axis of time end in -time or t."""

_ENCODINGS = frozenset({"raw", "txt", "text", "ascii", "gzip", "gz", "bzip2", "bz2"})
_CONVERT = "Convert it with 3D Slicer or `unu save -f nrrd -e gzip`."
_COLOUR_KINDS = {"rgb-color": 3, "rgba-color": 4, "3-color": 3, "4-color": 4}
_PACKED: dict[str, Any] = {
    "gzip": gzip.open,
    "gz": gzip.open,
    "bzip2": bz2.open,
    "bz2": bz2.open,
}
_ELSEWHERE = {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"}
"""Fields of a header whose samples do not follow it in one piece."""

_ENDS = ("axis mins", "axis maxs")
"""Fields of where axes begin and end, which other files say by spacings or directions."""

_DOMAIN = frozenset({"domain", "space", "none", "???"})
"""Kinds of axes that are space, or whose kind nobody knows."""
_THREE = 3
_MILLIMETRES = frozenset({"mm", "millimeter", "millimeters", "millimetre", "???", "", "none"})
_METRES = {"m": "meter", "um": "micron", "µm": "micron", "μm": "micron", "cm": "centimeter"}


def open_slide(probe: Probe) -> VolumeSource:
    """Open an NRRD volume.

    Raises
    ------
    UnreadableSourceError
        If it is damaged.
    RefusedSourceError
        If it is no volume in space, or its samples are not where it says.
    """
    if probe.local is None:
        raise RefusedSourceError(
            probe.given, "Volumes are not read from URLs.", "Copy it to this machine."
        )
    path = probe.local
    with opening(probe.given, "This is an NRRD volume", _AGAIN, (Exception,)):
        with path.open("rb") as stream:
            header = nrrd.read_header(stream)
            offset = stream.tell()
            fingerprint = fingerprint_of_stream(stream)
        encoding = str(header.get("encoding", "raw")).lower()
        _refuse_unread(probe, path, header)
        axes = _axes(probe, header)
        layout, notes = _layout(probe, header, axes)
        if not _ELSEWHERE & set(header):
            wanted = layout.total_bytes * axes.before * axes.after
            refuse_short(path, offset, wanted, encoding)
            before = offset * (encoding == "raw")
            notes += words_beyond(path, before, wanted, encoding, layout.plane_bytes)
    number, which = chosen_volume(probe, axes.before * axes.after)
    pieces = _Pieces(axes, number, layout)
    attached = not _ELSEWHERE & set(header)
    if attached and encoding == "raw" and axes.before == 1:
        voxels = Voxels(layout, path, offset + pieces.start)
    elif attached and encoding in {"raw", *_PACKED}:
        voxels = Voxels(layout, unpack=lambda: pieces.of(_stored(path, encoding, offset, pieces)))
    else:
        voxels = Voxels(layout, unpack=lambda: pieces.of(_by_pynrrd(path, pieces)))
    stack = PlaneStack(layout.grid, probe.view.axis)
    kind = ("nrrd", f"nrrd, {encoding}", _said_by(header))
    facts = volume_facts(probe, stack, kind, fingerprint, (*which, *notes))
    return VolumeSource(facts, voxels, probe.view)


def _refuse_unread(probe: Probe, path: Path, header: Mapping[str, Any]) -> None:
    """Refuse samples that pynrrd cannot read, or that are not where the header says."""
    encoding = str(header.get("encoding", "raw")).lower()
    if encoding not in _ENCODINGS:
        problem = f"The samples of this NRRD volume are encoded as {encoding}, which is not read."
        raise RefusedSourceError(probe.given, problem, _CONVERT)
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    lines = int(header.get("line skip", header.get("lineskip", 0)))
    if skip < -1 or lines < 0:
        problem = f"This NRRD volume says to skip {skip} bytes and {lines} lines, which has no"
        raise RefusedSourceError(probe.given, f"{problem} meaning.", "Mend its header.")
    name = header.get("data file", header.get("datafile"))
    if name is None:
        return
    if str(name).startswith("LIST") or "%" in str(name):
        problem = f"The samples of this NRRD volume lie in several files ({name})."
        raise RefusedSourceError(probe.given, problem, _CONVERT)
    if not (path.parent / str(name)).is_file():
        problem = f"The samples of this NRRD volume are missing: it names {name}."
        raise RefusedSourceError(probe.given, problem, f"Copy {name} to lie where it says.")


@dataclass(frozen=True)
class _Axes:
    """Which axes of a file are space, and how many samples the others have.

    Attributes
    ----------
    space
        The three axes of space, counted from the fastest.
    bands
        Samples of a colour, which the fastest axis counts; 1 where there is no colour.
    before, after
        Volumes whose voxels take turns (of list axes before space), and that follow each other.
    """

    space: tuple[int, int, int]
    bands: int
    before: int
    after: int


def _axes(probe: Probe, header: Mapping[str, Any]) -> _Axes:
    sizes = list(map(int, header["sizes"]))
    if min(sizes) < 1:
        problem = f"The sizes are {', '.join(map(str, sizes))}, which is no volume."
        raise RefusedSourceError(probe.given, problem, "Mend its header, or convert it again.")
    kinds = [str(kind).lower() for kind in header.get("kinds", ["domain"] * len(sizes))]
    bands = _COLOUR_KINDS.get(kinds[0], 0)
    is_colour = bands == sizes[0]
    space = _spatial(header, kinds, int(is_colour))
    follow = space == list(range(min(space, default=0), min(space, default=0) + _THREE))
    before = sizes[int(is_colour) : min(space, default=0)]
    if not follow or (is_colour and math.prod(before) > 1):
        listed = ", ".join(map(str, sizes))
        problem = f"The axes are {listed} ({', '.join(kinds)}), which is no volume."
        remedy = "Pass a volume of three axes of space that follow each other."
        raise RefusedSourceError(probe.given, problem, remedy)
    first, second, third = space
    after = math.prod(sizes[third + 1 :])
    return _Axes((first, second, third), max(1, bands * is_colour), math.prod(before), after)


def _spatial(header: Mapping[str, Any], kinds: Sequence[str], first: int) -> list[int]:
    """Return the axes of space: by their directions where there are any, else by their kinds."""
    axes = range(first, len(kinds))
    directions = header.get("space directions")
    if directions is not None:
        placed = _in_space(directions)
        found = [axis for axis in axes if placed[axis]]
        if len(found) <= _THREE:
            return found
    steps = np.asarray(header.get("spacings", np.ones(len(kinds))), np.float64)
    if "kinds" not in header and np.isfinite(steps).sum() == _THREE:
        return [axis for axis in axes if np.isfinite(steps[axis])]
    return [axis for axis in axes if kinds[axis] in _DOMAIN][:_THREE]


def _in_space(directions: Any) -> NDArray[np.bool_]:  # noqa: ANN401  (what pynrrd made of them)
    """Whether each axis leads through space: not none, and of a space with time not along that."""
    rows = np.asarray(directions, np.float64)
    finite = np.isfinite(rows).all(axis=1)
    if rows.shape[1] > _THREE:
        finite &= np.nan_to_num(rows[:, :_THREE]).any(axis=1)
    return np.asarray(finite)


def _layout(
    probe: Probe, header: Mapping[str, Any], axes: _Axes
) -> tuple[VoxelLayout, tuple[str, ...]]:
    affine, notes = _affine(header, axes)
    if len(header["sizes"]) > _THREE and not {"kinds", "spacings", "space directions"} & set(
        header
    ):
        notes += (assumed("no kinds", str(len(header["sizes"]))),)
    refuse_flat(probe.given, affine)
    i, j, k = (int(header["sizes"][axis]) for axis in axes.space)
    return VoxelLayout(VolumeGrid((i, j, k), affine), _dtype(header), axes.bands), notes


def _dtype(header: Mapping[str, Any]) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(nrrd.reader._determine_datatype(header))  # noqa: SLF001  (pynrrd has no public name for it)
    if dtype.kind not in "iuf":
        raise ValueError(f"its samples are {header['type']}, not numbers")
    return dtype


def _said_by(header: Mapping[str, Any]) -> str:
    """Return what of a header says how large voxels are."""
    for names in (("space directions",), ("spacings",), _ENDS, ("thicknesses",)):
        if header.keys() >= set(names):
            return " and ".join(names)
    return "nothing"


def _affine(header: Mapping[str, Any], axes: _Axes) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return the affine to RAS+ mm, and what had to be assumed."""
    space = str(header.get("space", "")).lower()
    signs = _TO_RAS.get(space.removesuffix("-time"), _TO_RAS.get(space.removesuffix("t")))
    directions = header.get("space directions")
    affine, notes = np.eye(4), list[str]()
    if directions is None:
        steps, starts, notes = _steps(header, axes)
        affine[:3, :3], affine[:3, 3] = np.diag(steps), starts
    else:
        rows = np.asarray(directions, np.float64)
        affine[:3, :3] = rows[list(axes.space), :_THREE].T
        origin = np.asarray(header.get("space origin", [math.nan] * _THREE), np.float64)[:_THREE]
        if not np.isfinite(origin).all():
            notes.append(assumed("no origin"))
        affine[:3, 3] = np.nan_to_num(origin)
        if header.keys() & set(_ENDS):
            notes.append(assumed("axis ends besides", "its space directions say it"))
    if directions is None or (signs is None and not space):
        notes.append(assumed("no orientation"))
    elif signs is None:
        notes.append(assumed("unknown space", space))
    units = _units(header, axes) - _MILLIMETRES
    notes += [assumed("units", _METRES.get(unit, unit)) for unit in sorted(units)]
    return np.diag([*(signs or _LPS), 1.0]) @ affine, tuple(notes)


def _units(header: Mapping[str, Any], axes: _Axes) -> set[str]:
    """Return the units of length: of the world's axes, or of the file's own in space."""
    if "space units" in header:
        return set(map(str, header["space units"][:_THREE]))
    own = header.get("units", [""] * len(header["sizes"]))
    return {str(own[axis]) for axis in axes.space}


def _steps(
    header: Mapping[str, Any], axes: _Axes
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return mm from voxel to voxel, (3,), where the first one's centre lies, and what is assumed.

    By the spacings, else by where axes begin and end, else by how thick voxels are.
    """
    steps = _of_axes(header, axes, "spacings")
    notes: list[str] = []
    by_ends, starts, known = _between_ends(header, axes)
    if np.isnan(steps).all() and np.isfinite(by_ends).all():
        said = " x ".join(map("{:.4g}".format, by_ends))
        notes.append(assumed("axis ends" if known else "axis ends of cells", said))
        return by_ends, starts, notes
    if header.keys() & set(_ENDS):
        notes.append(assumed("axis ends besides", "other fields say it, or an end is left out"))
    thick = _of_axes(header, axes, "thicknesses")
    by_thickness = np.flatnonzero(np.isnan(steps) & np.isfinite(thick))
    if by_thickness.size:
        notes.append(assumed("thicknesses", _letters(by_thickness)))
    steps = np.where(np.isnan(steps), thick, steps)
    lost = np.flatnonzero(np.isnan(steps))
    if lost.size:
        notes.append(assumed("no spacing", _letters(lost)))
    return np.nan_to_num(steps, nan=1.0), np.zeros(_THREE), notes


def _letters(axes: NDArray[np.int64]) -> str:
    return " and ".join(np.array([*"ijk"])[axes])


def _of_axes(header: Mapping[str, Any], axes: _Axes, name: str) -> NDArray[np.float64]:
    """Return a field's value for each axis of space, (3,); NaN where it has none, or 0."""
    said = np.asarray(header.get(name, [math.nan] * len(header["sizes"])), np.float64)
    values = said[list(axes.space)]
    return np.where(np.isfinite(values) & (values != 0), values, math.nan)


def _between_ends(
    header: Mapping[str, Any], axes: _Axes
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """Return mm from voxel to voxel by both ends of each axis, and where the first centre lies.

    And whether the file says what its ends are of: ``node`` (centres) or ``cell``.
    """
    space = list(axes.space)
    nothing = [math.nan] * len(header["sizes"])
    first, last = (np.asarray(header.get(name, nothing), np.float64)[space] for name in _ENDS)
    count = np.asarray(header["sizes"], np.float64)[space]
    said = header.get("centerings", header.get("centers", ["???"] * len(nothing)))
    kinds = np.array([str(said[axis]).lower() for axis in space])
    is_node = (kinds == "node") & (count > 1)
    steps = (last - first) / np.where(is_node, count - 1, count)
    known = bool((is_node | (kinds == "cell")).all())
    return steps, np.where(is_node, first, first + steps / 2), known


@dataclass(frozen=True)
class _Pieces:
    """One volume's bytes among those of all volumes of a file."""

    axes: _Axes
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


def _stored(path: Path, encoding: str, offset: int, pieces: _Pieces) -> Iterator[bytes]:
    """Yield a part of what follows the header, unpacked."""
    with path.open("rb") as stream:
        stream.seek(offset)
        if encoding == "raw":
            stream.seek(pieces.start, os.SEEK_CUR)
            yield from _read(stream, pieces.count)
            return
        with cast("BinaryIO", _PACKED[encoding](stream, "rb")) as packed:
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


def _by_pynrrd(path: Path, pieces: _Pieces) -> Iterator[bytes]:
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
