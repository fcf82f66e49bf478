"""NRRD: pynrrd reads the header.

Samples that lie in one piece, packed or not, are read as they lie.
"""

from __future__ import annotations

import bz2
import gzip
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import nrrd
import numpy as np
from nrrd.errors import NRRDError

from slidecam.errors import RefusedSourceError
from slidecam.sources._library import opening
from slidecam.sources._probe import fingerprint_of_stream
from slidecam.sources._voxels import COPY_BYTES, VoxelLayout, Voxels
from slidecam.sources.volume import VolumeSource, chosen_volume, volume_facts
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from slidecam.sources._probe import Probe

_AGAIN = "Copy or convert it again."
_TO_RAS = {
    "left-posterior-superior": (-1.0, -1.0, 1.0),
    "lps": (-1.0, -1.0, 1.0),
    "right-anterior-superior": (1.0, 1.0, 1.0),
    "ras": (1.0, 1.0, 1.0),
    "left-anterior-superior": (-1.0, 1.0, 1.0),
    "las": (-1.0, 1.0, 1.0),
}
_COLOUR_KINDS = {"rgb-color": 3, "rgba-color": 4, "3-color": 3, "4-color": 4}
_PACKED: dict[str, Any] = {
    "gzip": gzip.open,
    "gz": gzip.open,
    "bzip2": bz2.open,
    "bz2": bz2.open,
}
_ELSEWHERE = {"data file", "datafile", "line skip", "lineskip", "byte skip", "byteskip"}
"""Fields of a header whose samples do not follow it in one piece."""

_DOMAIN = {"domain", "space"}
_THREE = 3


def open_slide(probe: Probe) -> VolumeSource:
    """Open an NRRD volume; UnreadableSourceError if it is damaged or no volume in space."""
    if probe.local is None:
        raise RefusedSourceError(
            probe.given, "Volumes are not read from URLs.", "Copy it to this machine."
        )
    path = probe.local
    with opening(
        probe.given, "This is an NRRD volume", _AGAIN, (NRRDError, StopIteration)
    ):  # an empty file
        with path.open("rb") as stream:
            header = nrrd.read_header(stream)
            offset = stream.tell()
            fingerprint = fingerprint_of_stream(stream)
        layout, count, notes = _layout(probe, header)
    number, which = chosen_volume(probe, count)
    start = number * layout.total_bytes
    encoding = str(header.get("encoding", "raw")).lower()
    attached = not _ELSEWHERE & set(header)
    if attached and encoding == "raw":
        voxels = Voxels(layout, path, offset + start)
    elif attached and encoding in _PACKED:
        place = (offset, start, layout.total_bytes)
        voxels = Voxels(layout, unpack=lambda: _unpacked(path, encoding, place))
    else:
        voxels = Voxels(layout, unpack=lambda: _by_pynrrd(path, start, layout))
    stack = PlaneStack(layout.grid, probe.view.axis)
    kind = ("nrrd", f"nrrd, {encoding}", "space directions")
    facts = volume_facts(probe, stack, kind, fingerprint, (*which, *notes))
    return VolumeSource(facts, voxels, probe.view)


def _layout(probe: Probe, header: Mapping[str, Any]) -> tuple[VoxelLayout, int, tuple[str, ...]]:
    sizes = list(map(int, header["sizes"]))
    kinds = [str(kind).lower() for kind in header.get("kinds", ["domain"] * len(sizes))]
    bands = 0
    if kinds:
        bands = _COLOUR_KINDS.get(kinds[0], 0)
    if bands and bands == sizes[0]:
        sizes, kinds = sizes[1:], kinds[1:]
    if len(sizes) not in {_THREE, _THREE + 1} or not _DOMAIN.issuperset(kinds[:_THREE]):
        axes = ", ".join(map(str, header["sizes"]))
        problem = f"The axes are {axes} ({', '.join(kinds)}), which is no volume."
        remedy = "Pass a volume whose first three axes are space."
        raise RefusedSourceError(probe.given, problem, remedy)
    affine, notes = _affine(header)
    grid = VolumeGrid((sizes[0], sizes[1], sizes[2]), affine)
    layout = VoxelLayout(grid, _dtype(header), bands or 1)
    return layout, int(np.prod(sizes[_THREE:], dtype=np.int64)), notes


def _dtype(header: Mapping[str, Any]) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(nrrd.reader._determine_datatype(header))  # noqa: SLF001  (pynrrd has no public name for it)
    if dtype.kind not in "iuf":
        raise ValueError(f"its samples are {header['type']}, not numbers")
    return dtype


def _affine(
    header: Mapping[str, Any],
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], tuple[str, ...]]:
    """Return the affine to RAS+ mm, and what had to be assumed."""
    signs = _TO_RAS.get(str(header.get("space", "")).lower())
    directions = header.get("space directions")
    affine = np.eye(4)
    if directions is None or signs is None:
        steps = np.array([*header.get("spacings", [1.0, 1.0, 1.0])][-_THREE:], np.float64)
        steps[~np.isfinite(steps)] = 1.0
        affine[:3, :3] = np.diag([-1.0, -1.0, 1.0]) @ np.diag(steps)
        note = "The file does not say how it lies in the patient"
        return affine, (f"{note}: left, posterior, superior is assumed.",)
    rows = np.asarray(directions, np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)][:_THREE]
    origin = np.asarray(header.get("space origin", np.zeros(_THREE)), np.float64)
    affine[:3, :3], affine[:3, 3] = rows.T, np.where(np.isfinite(origin), origin, 0)
    return np.diag([*signs, 1.0]) @ affine, ()


def _unpacked(path: Path, encoding: str, place: tuple[int, int, int]) -> Iterator[bytes]:
    header, start, count = place
    with path.open("rb") as stream:
        stream.seek(header)
        with cast("BinaryIO", _PACKED[encoding](stream, "rb")) as packed:
            packed.seek(start)
            while count > 0:
                piece = packed.read(min(COPY_BYTES, count))
                if not piece:
                    return
                count -= len(piece)
                yield piece
            while packed.read(COPY_BYTES):  # the checksum at the end shows damage only now
                pass


def _by_pynrrd(path: Path, start: int, layout: VoxelLayout) -> Iterator[bytes]:
    """Yield the samples of text and of data in other files, which pynrrd reads whole."""
    samples, _header = nrrd.read(str(path), index_order="C")
    # index order "C" is the file's own, slowest first; what is not native is put back as the layout
    # says it lies
    stored = np.ascontiguousarray(samples, layout.dtype).reshape(-1).view(np.uint8)
    yield stored[start : start + layout.total_bytes].tobytes()
