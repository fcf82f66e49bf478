"""A DICOM series as a volume: classic files of one slice each, or enhanced ones of many.

Pydicom decodes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from slidecam.errors import RefusedSourceError
from slidecam.geometry import AXES
from slidecam.sources._dicom import (
    identity_of,
    left_out,
    note_on_objects,
    object_name,
    objects_in,
    series_files,
    siblings,
)
from slidecam.sources._dicom_frames import frames_of, largest_stack, volumes_of
from slidecam.sources._library import opening
from slidecam.sources._probe import fingerprint_of_files
from slidecam.sources._voxels import VoxelLayout, Voxels
from slidecam.sources.identifiers import shown_source
from slidecam.sources.volume import VolumeSource, chosen_volume, volume_facts
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from slidecam.sources._dicom_frames import Frame, FrameStack
    from slidecam.sources._probe import Probe

_AGAIN = "Copy the series again, or convert it with dcm2niix."
_DECOMPRESS = "Decompress it in its archive or viewer (explicit little endian), and use that."
_ITS_PICTURE = "Pass the slide or series that it was made for."
_WITH_PIXELS = "Fetch the series from its archive once more, with its pixels."
_STORED = ("PhotometricInterpretation", "PixelRepresentation", "BitsStored")
"""What is read of a frame beside its pixels."""

_SYNTAXES: dict[tuple[bool | None, bool | None], UID] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
"""By whether the kinds of values are left out, and the least byte comes first."""

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
    with opening(probe.given, "This is a DICOM series", _AGAIN, (InvalidDicomError,)):
        paths = _paths(probe, probe.local)
        header = dcmread(paths[0], stop_before_pixels=True, force=True)
        _refuse_undecodable(probe, header)
        frames, others = largest_stack([*frames_of(paths)])
        stacks, odd = volumes_of(frames, _step(header, frames))
        fingerprint = fingerprint_of_files(paths)
        layout = _layout(probe, stacks[0])
    number, which = chosen_volume(probe, len(stacks))
    stack = stacks[number]
    notes = [*which, *odd, *_begins_late(frames)]
    if probe.is_folder:
        notes += note_on_objects(probe.local)
    if others:
        notes.append(
            f"{others} of its pictures lie in another direction or shape and are left out."
        )
    if layout.grid.is_oblique:
        notes.append("Its slices are oblique: they are taken along the series' own axes.")
    voxels = Voxels(layout, unpack=lambda: _unpacked(stack, layout))
    planes = _planes(layout.grid, stack, probe)
    kind = ("dicom", _format(header), "PixelSpacing and positions")
    facts = volume_facts(probe, planes, kind, fingerprint, notes)
    facts = shown_source(facts, probe.local, keep=probe.view.keep_identifiers)
    return VolumeSource(facts, voxels, probe.view)


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
        raise RefusedSourceError(probe.given, problem, _WITH_PIXELS)


def _refuse_undecodable(probe: Probe, header: Dataset) -> None:
    """Refuse pixels for whose compression no decoder is installed."""
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None or not syntax.is_transfer_syntax or not syntax.is_compressed:
        return
    try:
        known = get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        problem = f"The pixels of this DICOM series are compressed as {syntax.name}, which no"
        raise RefusedSourceError(probe.given, f"{problem} decoder here reads.", _DECOMPRESS)


def _step(header: Dataset, frames: Sequence[Frame]) -> float:
    said = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
    return float(said or frames[0].spacing[0])


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
    grid = VolumeGrid((first.columns, first.rows, len(stack.frames)), affine)
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    if first.bands == 1:
        dtype = np.dtype(np.float32)
    return VoxelLayout(grid, dtype, first.bands)


def _planes(grid: VolumeGrid, stack: FrameStack, probe: Probe) -> PlaneStack:
    """Return the planes of the view, without those of missing slices where it looks along them."""
    planes = PlaneStack(grid, probe.view.axis)
    along = grid.file_axis(AXES.index(probe.view.axis)) == 2  # noqa: PLR2004  (slices are the last axis)
    if not along:
        return planes
    lost = np.array([frame is None for frame in stack.frames])
    missing = np.flatnonzero(lost[planes.file_indices]).tolist()
    return PlaneStack(grid, probe.view.axis, tuple(missing))


def _begins_late(frames: Sequence[Frame]) -> tuple[str, ...]:
    first = min(frame.order[-1] for frame in frames)
    if len(frames) == 1 or first <= 1:
        return ()
    return (f"Its first instance is number {first:g}: slices before it may be missing.",)


def _format(header: Dataset) -> str:
    name, encoding = "dicom", "no transfer syntax"
    if "PerFrameFunctionalGroupsSequence" in header:
        name = "enhanced dicom"
    syntax = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    if syntax:
        encoding = syntax.name
    return f"{name} {header.get('Modality', '')}, {encoding}"


def _unpacked(stack: FrameStack, layout: VoxelLayout) -> Iterator[bytes]:
    """Yield the frames' intensities by position.

    A missing slice is as dark as the darkest before it.
    """
    darkest = 0.0
    for frame in stack.frames:
        if frame is None:
            samples = layout.plane_bytes // layout.dtype.itemsize
            yield np.full(samples, darkest, layout.dtype).tobytes()
            continue
        values = _decoded(frame)
        if layout.bands == 1:
            darkest = min(darkest, float(values.min()))
        yield np.ascontiguousarray(values, layout.dtype).tobytes()


def _decoded(frame: Frame) -> NDArray[np.generic]:
    """Return a frame's intensities, (rows, columns), as its modality means them.

    Colours are (…, 3).
    """
    pixels = pixel_array(_openable(frame.path), index=frame.number)
    if frame.bands > 1:
        return pixels
    tags = [*_STORED]
    header = dcmread(frame.path, stop_before_pixels=True, force=True, specific_tags=tags)
    values = pixels.astype(np.float32)
    if header.get("PhotometricInterpretation") == "MONOCHROME1":
        # By the range that the file can hold: by the slice's own, air would be of another grey in
        # each slice.
        lowest_and_highest = 2**header.BitsStored - 1
        if header.PixelRepresentation:  # signed: from -2^(bits - 1) to 2^(bits - 1) - 1
            lowest_and_highest = -1
        values = np.float32(lowest_and_highest) - values
    return np.asarray(values * np.float32(frame.slope) + np.float32(frame.intercept))


def _openable(path: Path) -> Path | Dataset:
    """Return what pydicom decodes: the file, or a data set where it does not say how it is stored.

    So it is without the meta information that follows a preamble.
    """
    header = dcmread(path, stop_before_pixels=True, force=True, specific_tags=["Rows"])
    if "TransferSyntaxUID" in header.file_meta:
        return path
    whole = dcmread(path, force=True)
    whole.file_meta.TransferSyntaxUID = _SYNTAXES[whole.original_encoding]
    return whole
