"""A DICOM series as a volume: classic files of one slice each, or enhanced ones of many.

Pydicom decodes them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread
from pydicom.uid import UID

from slidecam.errors import RefusedSourceError
from slidecam.geometry import AXES
from slidecam.pixels import reason
from slidecam.sources._dicom import (
    identity_of,
    left_out,
    notes_on_companions,
    object_name,
    objects_in,
    series_files,
    siblings,
)
from slidecam.sources._dicom_apart import FrameDecoder
from slidecam.sources._dicom_frames import frames_of
from slidecam.sources._dicom_groups import refuse_two_scales
from slidecam.sources._dicom_lost import (
    lost_files,
    missing_of_series,
    words_on_counts,
    words_on_lost,
    words_on_series,
    words_on_uncounted,
    words_on_unread,
)
from slidecam.sources._dicom_pixels import (
    colour_bits,
    padding_of,
    refuse_colours,
    refuse_undecodable,
)
from slidecam.sources._dicom_stacks import volumes_of
from slidecam.sources._library import opening
from slidecam.sources._probe import fingerprint_of_files
from slidecam.sources._ranges import note_on_bits
from slidecam.sources._voxels import (
    VoxelLayout,
    Voxels,
    chosen_volume,
)
from slidecam.sources.identifiers import shown_source
from slidecam.sources.images import file_volumes
from slidecam.sources.placement import refuse_flat
from slidecam.sources.volume import VolumeSource, volume_facts
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from slidecam.sources._dicom_frames import Frame
    from slidecam.sources._dicom_groups import FrameStack
    from slidecam.sources._dicom_stacks import SeriesVolumes
    from slidecam.sources._probe import Probe

_AGAIN = "Copy the series again, or convert it with dcm2niix."
_ITS_PICTURE = "Pass the slide or series that it was made for."
_WITH_PIXELS = "Fetch the series from its archive once more, with its pixels."
_OF_TIME = ("FrameTime", "FrameTimeVector", "CineRate", "RecommendedDisplayFrameRate")

_LOST = "its file is missing, empty, cut off, damaged or no DICOM"
"""What is said of a gap among slices beside such a file."""

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def open_slide(probe: Probe) -> VolumeSource:
    """Open the series in a folder or of a file.

    Raises
    ------
    UnreadableSourceError
        If it makes no volume.
    RefusedSourceError
        If it is an object that belongs to a picture, such as a segmentation, or there are several
        series.
    """
    assert probe.local is not None  # noqa: S101  (the registry asks for local files alone)
    with opening(probe.given, "This is a DICOM series", _AGAIN, (Exception,)):
        series = _series(probe, probe.local)
        names = [stack.name for stack in series.volumes.stacks]
        number, which = chosen_volume(probe, len(names), names, series.what)
        stack = series.volumes.stacks[number]
        layout = _layout(probe, stack)
        refuse_two_scales(probe.given, stack)
    broken: dict[int, str] = {}
    if series.unread:
        # Whichever file lay in a gap: that slice failed, and was not left out on purpose.
        broken = {place: _LOST for place, frame in enumerate(stack.frames) if frame is None}
    notes = (*which, *_notes(series, stack), *notes_on_companions(probe.local, series.lost))
    planes = _planes(layout.grid, stack, probe, broken)
    first = next(filter(None, stack.frames))
    kind = ("dicom", _format(series.header), f"{first.spacing_from} and positions")
    facts = volume_facts(probe, planes, kind, fingerprint_of_files(series.paths), notes)
    facts = replace(facts, volumes=file_volumes(len(names), number, names))
    facts = shown_source(facts, probe.local, keep=probe.view.keep_identifiers)
    unplaced = max(0, series.unread - stack.frames.count(None))
    voxels = _voxels(stack, layout, broken, padded=padding_of(series.header) is not None)
    return VolumeSource(facts, voxels, probe.view, unplaced)


@dataclass(frozen=True)
class _Series:
    """A series as it was read.

    Attributes
    ----------
    paths, header
        Its files, and what the first one says.
    frames, volumes
        All of its frames, and as volumes.
    failures
        What reading the headers of others raised.
    lost, missing
        Files that were its slices as their names tell, and that the list of its medium names.
    """

    paths: Sequence[Path]
    header: Dataset
    frames: Sequence[Frame]
    volumes: SeriesVolumes
    failures: Sequence[Exception]
    lost: Sequence[Path]
    missing: Sequence[Path]

    @property
    def unread(self) -> int:
        """How many of its files gave no frame."""
        return len(self.lost) + len(self.missing) + len(self.failures)

    @property
    def what(self) -> str:
        """What its volumes are, in the plural."""
        if self.volumes.in_sequence:
            return _sequence(self.header)
        return "volumes"


def _series(probe: Probe, local: Path) -> _Series:
    paths = _paths(probe, local)
    header = dcmread(paths[0], stop_before_pixels=True, force=True)
    refuse_undecodable(probe, header)
    refuse_colours(probe, header)
    frames, failures = frames_of(probe.given, paths)
    _refuse_without_size(probe, frames)
    volumes = volumes_of(frames, _step(header, frames))
    lost, missing = lost_files(paths), missing_of_series(paths)
    return _Series(paths, header, frames, volumes, failures, lost, missing)


def _notes(series: _Series, stack: FrameStack) -> Iterator[str]:
    """Yield what is said of a series and of the volume that is read of it."""
    yield from words_on_unread(series.failures)
    yield from words_on_lost(len(series.lost), stack.frames.count(None))
    yield from words_on_series(series.paths, series.missing)
    yield from words_on_uncounted(sum(max(0, frame.beyond) for frame in series.frames))
    if not series.volumes.in_sequence:
        slices = [len(each.frames) - each.frames.count(None) for each in series.volumes.stacks]
        yield from words_on_counts(series.header, slices, len(series.paths))
    yield from series.volumes.readings
    yield from _begins_late(series.frames)
    yield from _assumed(stack)
    header = series.header
    yield from note_on_bits(colour_bits(header))
    placed = {frame.position for frame in stack.frames if frame is not None} - {None}
    if len(placed) < 2 and not _thickness(header):  # noqa: PLR2004  (a step lies between two)
        step = float(np.linalg.norm(stack.step))
        yield f"Nothing says how thick its slices are: {step:g} mm is assumed."
    if header.get("RescaleSlope") == 0:
        yield "Its RescaleSlope is 0, which has no meaning: it is taken for 1."
    padding = padding_of(header)
    if padding is not None:
        yield _of_padding(padding)


def _voxels(
    stack: FrameStack,
    layout: VoxelLayout,
    broken: dict[int, str],
    *,
    padded: bool,
) -> Voxels:
    """Return the samples of a volume; what of it cannot be read is put into ``broken``."""
    lowest: set[float] = set()

    def unpack() -> Iterator[bytes]:
        for values in _unpacked(stack, layout, broken):
            if padded:
                lowest.add(min(0.0, _darkest(values)))  # as missing slices are
            yield values.tobytes()

    return Voxels(layout, unpack=unpack, broken=broken, lowest=lowest)


def _paths(probe: Probe, local: Path) -> Sequence[Path]:
    if not local.is_dir():
        name = object_name(local)
        _refuse_headers(probe, local)
        if name is not None:
            problem = f"This DICOM file is no picture: it holds {name}, which belongs to one."
            raise RefusedSourceError(probe.given, problem, _ITS_PICTURE)
        return siblings(local)
    series = series_files(local)
    if not series:
        for file in objects_in(local):
            _refuse_headers(probe, file)
        problem = f"This folder holds DICOM files, and no picture: {left_out(local)}."
        raise RefusedSourceError(probe.given, problem, _ITS_PICTURE)
    if len(series) > 1:
        problem = f"There are {len(series)} DICOM series in this folder."
        raise RefusedSourceError(probe.given, problem, "Pass one file of the series that you mean.")
    return next(iter(series.values()))


def _refuse_headers(probe: Probe, file: Path) -> None:
    """Refuse what would be a picture if it had pixels."""
    found = identity_of(file)
    if found is not None and found.is_bare_header:
        name = UID(found.kind).name
        problem = f"This is a DICOM header of the kind {name}, without pixel data."
        if found.is_cut_off:
            problem = (
                f"This is a DICOM file of the kind {name}, of which no more can be read: it is"
            )
            problem += " cut off, or not written as its transfer syntax says."
        raise RefusedSourceError(probe.given, problem, _WITH_PIXELS)


def _step(header: Dataset, frames: Sequence[Frame]) -> float:
    return abs(float(str(_thickness(header) or frames[0].spacing[0])))


def _thickness(header: Dataset) -> object:
    return header.get("SpacingBetweenSlices") or header.get("SliceThickness")


def _layout(probe: Probe, stack: FrameStack) -> VoxelLayout:
    first = next(frame for frame in stack.frames if frame is not None)
    if first.bands not in {1, 3}:
        problem = f"The pixels have {first.bands} samples, neither grey nor colour."
        raise RefusedSourceError(probe.given, problem, "Export it as grey or RGB.")
    affine = np.eye(4)
    across, down = (np.array(direction) for direction in first.directions)
    # Columns of an array go along a row: the step between them is the second of PixelSpacing.
    lps = np.stack([across * first.spacing[1], down * first.spacing[0], stack.step], axis=1)
    affine[:3, :3] = _LPS_TO_RAS @ lps
    affine[:3, 3] = _LPS_TO_RAS @ np.array(first.position or (0.0, 0.0, 0.0))
    refuse_flat(probe.given, affine)
    grid = VolumeGrid((first.columns, first.rows, len(stack.frames)), affine)
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    if first.bands == 1:
        dtype = np.dtype(np.float32)
    return VoxelLayout(grid, dtype, first.bands)


def _planes(
    grid: VolumeGrid, stack: FrameStack, probe: Probe, broken: Collection[int]
) -> PlaneStack:
    """Return the planes of the view, without those of missing slices where it looks along them.

    Those in ``broken`` are there, and fail.
    """
    planes = PlaneStack(grid, probe.view.axis)
    along = grid.file_axis(AXES.index(probe.view.axis)) == 2  # noqa: PLR2004  (slices are the last axis)
    if not along:
        return planes
    lost = np.array([frame is None for frame in stack.frames])
    lost[[*broken]] = False
    missing = np.flatnonzero(lost[planes.file_indices]).tolist()
    return PlaneStack(grid, probe.view.axis, tuple(missing))


def _refuse_without_size(probe: Probe, frames: Sequence[Frame]) -> None:
    """Refuse frames whose pixels have no size, or one that is no number."""
    for frame in frames:
        if not (np.isfinite(frame.spacing).all() and min(frame.spacing) > 0):
            rows, columns = frame.spacing
            problem = f"Its PixelSpacing is {rows:g} x {columns:g} mm, which no pixel is."
            raise RefusedSourceError(probe.given, problem, "Mend its header, or export it again.")
    if all(frame.beyond < 0 for frame in frames):
        problem = "Its header says that a picture has {} x {} pixels, and it holds fewer bytes."
        problem = problem.format(frames[0].columns, frames[0].rows)
        raise RefusedSourceError(probe.given, problem, _AGAIN)


def _assumed(stack: FrameStack) -> list[str]:
    """Return a sentence on what is taken of the place of a volume's frames, each once."""
    found: dict[str, None] = {}
    for frame in filter(None, stack.frames):
        found.update(dict.fromkeys(frame.assumptions))
    return [*found]


def _begins_late(frames: Sequence[Frame]) -> tuple[str, ...]:
    first = min(frame.instance for frame in frames)
    files = {frame.path for frame in frames}
    if len(frames) == 1 or first <= 1 or len(files) < len(frames):
        return ()
    return (f"Its first instance is number {first:g}: slices before it may be missing.",)


def _sequence(header: Dataset) -> str:
    """Return what the frames of a file are that are no slices of a volume."""
    if any(header.get(name) for name in _OF_TIME):
        return "frames over time, which are no slices of a volume"
    return "frames of which no file says where they lie"


def _format(header: Dataset) -> str:
    name, encoding = "dicom", "no transfer syntax"
    if "PerFrameFunctionalGroupsSequence" in header:
        name = "enhanced dicom"
    syntax = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    if syntax:
        encoding = syntax.name
    return f"{name} {header.get('Modality', '')}, {encoding}"


def _unpacked(
    stack: FrameStack, layout: VoxelLayout, broken: dict[int, str]
) -> Iterator[NDArray[Any]]:
    """Yield the frames' intensities by position.

    A missing slice is as dark as the darkest before it, and so is one that cannot be read; those
    are put into ``broken``, each with the reason. Where none can, the first one's error is raised.
    """
    darkest = 0.0
    failures: list[Exception] = []
    wanted = len(stack.frames) - stack.frames.count(None)
    with FrameDecoder() as decode:
        for place, frame in enumerate(stack.frames):
            values: NDArray[Any] | None = None
            if frame is not None:
                try:
                    values = _fitting(frame.of_picture(decode(frame)), layout)
                except Exception as error:  # noqa: BLE001  (the boundary of a slice: it fails alone)
                    broken[place] = reason(error)
                    failures.append(error)
            if len(failures) == wanted:
                raise failures[0]
            if values is None:
                samples = layout.plane_bytes // layout.dtype.itemsize
                values = np.full(samples, darkest, layout.dtype)
            elif layout.bands == 1:
                darkest = min(darkest, _darkest(values))
            yield np.ascontiguousarray(values, layout.dtype)


def _darkest(values: NDArray[Any]) -> float:
    """Return the lowest number of a slice; infinity where there is none."""
    return float(np.fmin.reduce(values, axis=None, initial=np.inf))


def _of_padding(padding: tuple[float, float]) -> str:
    """Return the sentence on samples that lie outside of the picture."""
    said = " to ".join(dict.fromkeys(f"{each:g}" for each in padding))
    return (
        f"Pixels of its PixelPaddingValue ({said}) lie outside of the picture: they are taken for"
        " air, as dark as the lowest of the others and no brighter than 0."
    )


def _fitting(values: NDArray[Any], layout: VoxelLayout) -> NDArray[Any]:
    columns, rows, _planes = layout.grid.shape
    if values.shape[:2] != (rows, columns):
        height, width = values.shape[:2]
        raise ValueError(
            f"its pixels are {width}x{height}, not {columns}x{rows} as its header says"
        )
    return values
