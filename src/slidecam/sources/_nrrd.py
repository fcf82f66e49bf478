"""NRRD: pynrrd reads the header.

StoredSamples that lie in one piece, packed or not, are read as they lie.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import nrrd
import numpy as np

from slidecam.errors import RefusedSourceError
from slidecam.sources._companions import refuse_elsewhere
from slidecam.sources._library import opening
from slidecam.sources._nrrd_samples import Axes, Pieces, StoredSamples
from slidecam.sources._probe import fingerprint_of_stream
from slidecam.sources._voxels import VoxelLayout, chosen_volume, refuse_short, words_beyond
from slidecam.sources.images import file_volumes
from slidecam.sources.placement import assumed, refuse_flat
from slidecam.sources.volume import VolumeSource, volume_facts
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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
        _refuse_list(probe)
        with path.open("rb") as stream:
            header = nrrd.read_header(stream)
            offset = stream.tell()
            fingerprint = fingerprint_of_stream(stream)
        encoding = str(header.get("encoding", "raw")).lower()
        _refuse_unread(probe, path, header)
        axes = _axes(probe, header)
        layout, notes = _layout(probe, header, axes)
        wanted = layout.total_bytes * axes.before * axes.after
        samples = StoredSamples.found(path, header, offset, wanted)
        if samples.file is not None:
            refuse_short(samples.file, samples.start, wanted, encoding)
            start = samples.start * (encoding == "raw")
            notes += words_beyond(samples.file, start, wanted, encoding, layout.plane_bytes)
    count = axes.before * axes.after
    number, which = chosen_volume(probe, count)
    voxels = samples.voxels(Pieces(axes, number, layout))
    stack = PlaneStack(layout.grid, probe.view.axis)
    kind = ("nrrd", f"nrrd, {encoding}", _said_by(header))
    facts = volume_facts(probe, stack, kind, fingerprint, (*which, *notes))
    facts = replace(facts, volumes=file_volumes(count, number))
    return VolumeSource(facts, voxels, probe.view)


def _refuse_list(probe: Probe) -> None:
    """Refuse samples in several files, one to a line: pynrrd takes the lines for fields."""
    for line in probe.head.partition(b"\n\n")[0].splitlines():
        field, _colon, value = line.partition(b":")
        is_file = field.strip().lower() in {b"data file", b"datafile"}
        if is_file and value.strip().startswith(b"LIST"):
            problem = "The samples of this NRRD volume lie in several files (LIST)."
            raise RefusedSourceError(probe.given, problem, _CONVERT)


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
    refuse_elsewhere(probe.given, path.parent, str(name), "this NRRD volume")
    if not (path.parent / str(name)).is_file():
        problem = f"The samples of this NRRD volume are missing: it names {name}."
        raise RefusedSourceError(probe.given, problem, f"Copy {name} to lie where it says.")


def _axes(probe: Probe, header: Mapping[str, Any]) -> Axes:
    sizes = list(map(int, header["sizes"]))
    if int(header.get("dimension", len(sizes))) != len(sizes):
        problem = f"Its header says {header['dimension']} axes and the sizes of {len(sizes)}."
        raise RefusedSourceError(probe.given, problem, "Mend its header, or convert it again.")
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
    return Axes((first, second, third), max(1, bands * is_colour), math.prod(before), after)


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
    probe: Probe, header: Mapping[str, Any], axes: Axes
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


def _affine(header: Mapping[str, Any], axes: Axes) -> tuple[NDArray[np.float64], tuple[str, ...]]:
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


def _units(header: Mapping[str, Any], axes: Axes) -> set[str]:
    """Return the units of length: of the world's axes, or of the file's own in space."""
    if "space units" in header:
        return set(map(str, header["space units"][:_THREE]))
    own = header.get("units", [""] * len(header["sizes"]))
    return {str(own[axis]) for axis in axes.space}


def _steps(
    header: Mapping[str, Any], axes: Axes
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


def _of_axes(header: Mapping[str, Any], axes: Axes, name: str) -> NDArray[np.float64]:
    """Return a field's value for each axis of space, (3,); NaN where it has none, or 0."""
    said = np.asarray(header.get(name, [math.nan] * len(header["sizes"])), np.float64)
    values = said[list(axes.space)]
    return np.where(np.isfinite(values) & (values != 0), values, math.nan)


def _between_ends(
    header: Mapping[str, Any], axes: Axes
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
