"""NIfTI 1 and 2 and MGH, packed or not: nibabel reads the header, samples are read as they lie."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import nibabel
import numpy as np
from nibabel.freesurfer.mghformat import MGHImage
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from nibabel.nifti2 import Nifti2Image
from nibabel.spatialimages import HeaderDataError

from slidecam.errors import RefusedSourceError
from slidecam.sources._companions import (
    header_of_pair,
    is_analyze,
    is_nifti,
    is_nifti_header,
    samples_of_pair,
)
from slidecam.sources._library import opening
from slidecam.sources._probe import GZIP, fingerprint_of_stream
from slidecam.sources._voxels import (
    COPY_BYTES,
    VoxelLayout,
    Voxels,
    chosen_volume,
    refuse_short,
    words_beyond,
)
from slidecam.sources.images import file_volumes
from slidecam.sources.placement import assumed, farthest, mirrored, refuse_flat
from slidecam.sources.volume import VolumeSource, volume_facts
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nibabel.arrayproxy import ArrayProxy
    from numpy.typing import NDArray

    from slidecam.sources._probe import Probe

_AGAIN = "Copy or convert it again."
_THREE = 3
_MAGIC_1, _MAGICS_1 = slice(344, 347), {b"n+1", b"ni1"}
_GOOD_RAS = slice(28, 30)
"""Where an MGH header says whether it knows its orientation."""

_ANALYZE = "an ANALYZE 7.5 volume, which does not say which side is left."
_SIDE_KNOWN = (
    "Convert it to NIfTI with a program that knows its side, for example FSL (fslchfiletype NIFTI)."
)

_CIFTI_INTENTS = range(3000, 3100)
_VERTICES = frozenset({642, 2562, 10242, 40962, 163842})
"""Of FreeSurfer's icospheres, which are also kept folded, as 27307x1x6."""

_OTHER_EDGES = 0.01
"""Share of an edge by which a header's two sizes of a voxel may differ before a note says so."""

_OTHER_UNITS = frozenset({"meter", "micron"})
_MM, _SPATIAL = 2, 0b111
"""Of a NIfTI header's units: the code of mm, and the bits of lengths."""

_PLACE = (
    "qform_code",
    "sform_code",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "srow_x",
    "srow_y",
    "srow_z",
)


def open_slide(probe: Probe) -> VolumeSource:
    """Open a NIfTI or MGH volume; UnreadableSourceError if damaged or no volume of numbers."""
    if probe.local is None:
        raise RefusedSourceError(
            probe.given, "Volumes are not read from URLs.", "Copy it to this machine."
        )
    _refuse_others(probe, probe.local)
    with opening(probe.given, "This is a NIfTI or MGH volume", _AGAIN, (Exception,)):
        image = _image(probe)
        _refuse_cifti(probe, image)
        _refuse_half(probe, _data_file(image, probe))
        layout, offset, count = _layout(probe, image)
        with probe.open() as stream:
            fingerprint = fingerprint_of_stream(stream)
        packing = {True: "gzip", False: "raw"}[probe.head.startswith(GZIP)]
        file, wanted = _data_file(image, probe), layout.total_bytes * count
        refuse_short(file, offset, wanted, packing)
        beyond = words_beyond(file, offset, wanted, packing, layout.plane_bytes)
    number, which = chosen_volume(probe, count)
    start = offset + number * layout.total_bytes
    packed = probe.head.startswith(GZIP)
    voxels = Voxels(layout, file, start)
    if packed:
        voxels = Voxels(layout, unpack=lambda: _unpacked(file, start, layout.total_bytes))
    stack = PlaneStack(layout.grid, probe.view.axis)
    kind = ("nifti", _format(image, packed=packed), "the affine")
    notes = (*which, *beyond, *_notes(probe, image, layout.grid))
    facts = volume_facts(probe, stack, kind, fingerprint, notes)
    facts = replace(facts, volumes=file_volumes(count, number))
    return VolumeSource(facts, voxels, probe.view)


def _image(
    probe: Probe,
) -> Any:  # noqa: ANN401  (nibabel's images share no typed base that has them all)
    """Return nibabel's image by content: `nibabel.load` asks for the right suffix."""
    head = probe.unpacked_head
    kind: Any = MGHImage
    if is_nifti(head):
        kind = Nifti2Image
        if head[_MAGIC_1] in _MAGICS_1:
            kind = Nifti1Image
    if is_nifti_header(head):
        return nibabel.load(probe.local)  # type: ignore[arg-type]  # a pair of files, found by their names
    files = kind.make_file_map()
    with probe.open() as stream:
        files["image"].fileobj = stream
        if probe.head.startswith(GZIP):
            files["image"].fileobj = gzip.GzipFile(fileobj=stream)
        return kind.from_file_map(files, mmap=False)


def _layout(probe: Probe, image: Any) -> tuple[VoxelLayout, int, int]:  # noqa: ANN401
    """Return how one volume lies, where the first one begins, and how many there are.

    The place is that in the (unpacked) file.
    """
    proxy = cast("ArrayProxy", image.dataobj)
    shape = list(map(int, proxy.shape))
    space, rest = [*shape, 1, 1][:_THREE], shape[_THREE:]
    if len(shape) < 2 or min(shape) < 1:  # noqa: PLR2004  (a picture)
        problem = f"The shape is {'x'.join(map(str, shape)) or 'empty'}, which is no volume."
        raise RefusedSourceError(probe.given, problem, "Pass a volume of three or four dimensions.")
    _refuse_surface(probe, space)
    dtype, bands = _samples(probe, np.dtype(proxy.dtype))
    affine = np.asarray(image.affine, np.float64)
    refuse_flat(probe.given, affine)
    grid = VolumeGrid((space[0], space[1], space[2]), affine, _place_of(image))
    layout = VoxelLayout(grid, dtype, bands, float(proxy.slope), float(proxy.inter))
    offset = max(int(proxy.offset), _first_byte(image))
    return layout, offset, int(np.prod(rest, dtype=np.int64))


def _first_byte(image: Any) -> int:  # noqa: ANN401
    """Return where samples begin at the earliest: behind the header, if they follow one."""
    if type(image) in {Nifti1Image, Nifti2Image}:
        return int(image.header.single_vox_offset)
    return 0


def _place_of(image: Any) -> dict[str, NDArray[np.generic]]:  # noqa: ANN401
    """Return the fields of a NIfTI header that say where the volume lies; none of MGH."""
    header = image.header
    if not isinstance(header, Nifti1Header):
        return {}
    found = {name: np.array(header[name]) for name in _PLACE}
    edges = np.array(header["pixdim"][: _THREE + 1])
    lengths = np.linalg.norm(image.affine[:3, :3], axis=0)
    # A picture's header may have no third edge, which a volume of one slice has.
    edges[1:] = np.where(edges[1:] == 0, lengths, edges[1:])
    found["pixdim"] = edges
    found["xyzt_units"] = np.array(_MM)
    if _unit_of(image) in _OTHER_UNITS:
        found["xyzt_units"] = np.array(int(header["xyzt_units"]) & _SPATIAL)
    return found


def _samples(probe: Probe, dtype: np.dtype[Any]) -> tuple[np.dtype[Any], int]:
    if dtype.names is not None and all(dtype[name] == np.uint8 for name in dtype.names):
        return np.dtype(np.uint8), len(dtype.names)
    if dtype.kind not in "iuf":
        problem = f"The voxels are {dtype}, not real numbers or colours."
        raise RefusedSourceError(
            probe.given, problem, "Convert it, for example to its magnitude as float32."
        )
    return dtype, 1


def _refuse_others(probe: Probe, local: Path) -> None:
    """Refuse, by its name, what is kin to NIfTI and no volume of it."""
    if is_analyze(probe.unpacked_head):
        raise RefusedSourceError(probe.given, f"This is the header of {_ANALYZE}", _SIDE_KNOWN)
    if not samples_of_pair(probe):
        return
    header = header_of_pair(local)
    if header is None:
        name = local.with_suffix(".hdr").name
        problem = "This is called as the samples of an ANALYZE or NIfTI pair are, and there is no"
        remedy = f"Copy {name} to lie beside it, and pass that."
        raise RefusedSourceError(probe.given, f"{problem} header {name} beside it.", remedy)
    if is_analyze(header.read_bytes()):
        raise RefusedSourceError(probe.given, f"This holds the samples of {_ANALYZE}", _SIDE_KNOWN)
    problem = f"This holds the samples of a volume, whose header is {header.name}."
    raise RefusedSourceError(probe.given, problem, f"Pass {header}.")


def _refuse_cifti(probe: Probe, image: Any) -> None:  # noqa: ANN401
    """Refuse values of the cortex's surface, by their intent."""
    if not isinstance(image.header, Nifti1Header):
        return
    intent = int(image.header["intent_code"])
    if intent in _CIFTI_INTENTS:
        problem = f"This is a CIFTI file (intent {intent}): values of the cortex's surface and of"
        remedy = "Pass the volume that it was made of, or export one with wb_command"
        raise RefusedSourceError(
            probe.given, f"{problem} regions, and no volume.", f"{remedy} -cifti-separate."
        )


def _refuse_surface(probe: Probe, space: Sequence[int]) -> None:
    """Refuse values of the vertices of a surface, which FreeSurfer keeps as volumes."""
    count = math.prod(space)
    if count == max(space) > 1 or (1 in space and count in _VERTICES):
        problem = f"This holds one row of {count} voxels, as files of values of a surface do,"
        remedy = "Pass the volume that it was made of."
        raise RefusedSourceError(probe.given, f"{problem} and no picture.", remedy)


def _refuse_half(probe: Probe, samples: Path) -> None:
    """Refuse the header of a pair whose samples are not beside it."""
    if not samples.is_file():
        problem = "This is the header of a pair (NIfTI), and its samples are missing beside it:"
        remedy = f"Copy {samples.name} to lie beside it, under that name."
        raise RefusedSourceError(probe.given, f"{problem} {samples.name}.", remedy)


def _data_file(image: Any, probe: Probe) -> Path:  # noqa: ANN401
    name = image.file_map["image"].filename
    assert probe.local is not None  # noqa: S101  (for the type checker)
    if name is None:
        return probe.local
    return type(probe.local)(name)


def _unpacked(path: Path, start: int, count: int) -> Iterator[bytes]:
    with gzip.open(path, "rb") as stream:
        stream.seek(start)
        while count > 0:
            piece = stream.read(min(COPY_BYTES, count))
            if not piece:
                return
            count -= len(piece)
            yield piece
        while stream.read(COPY_BYTES):  # the checksum stands at the end: damage shows only there
            pass


def _format(image: Any, *, packed: bool) -> str:  # noqa: ANN401
    name = {MGHImage: "mgh", Nifti1Image: "nifti-1", Nifti2Image: "nifti-2"}.get(
        type(image), "nifti pair"
    )
    if packed:
        return f"{name}, gzipped"
    return name


def _unit_of(image: Any) -> str:  # noqa: ANN401
    """Return the unit of length that a header states, or mm."""
    if hasattr(image.header, "get_xyzt_units"):
        return str(image.header.get_xyzt_units()[0])
    return "mm"


def _notes(probe: Probe, image: Any, grid: VolumeGrid) -> Iterator[str]:  # noqa: ANN401
    if grid.nifti:
        yield from _notes_on_matrices(image, grid)
        yield from _notes_on_numbers(probe, image, grid)
    elif not any(probe.unpacked_head[_GOOD_RAS]):
        yield assumed("no direction")
    unit = _unit_of(image)
    if unit in _OTHER_UNITS:
        yield assumed("units", unit)
    if int(image.dataobj.offset) < _first_byte(image):
        start = _first_byte(image)
        note = f"Its header says that samples begin at byte {int(image.dataobj.offset)},"
        yield f"{note} within the header itself: they are read from byte {start}."


def _notes_on_matrices(image: Any, grid: VolumeGrid) -> Iterator[str]:  # noqa: ANN401
    """Yield what had to be assumed of a NIfTI's two matrices."""
    qform, sform = (int(image.header[name]) for name in ("qform_code", "sform_code"))
    if qform <= 0 and sform <= 0:
        yield assumed("no codes")
    if qform <= 0 or sform <= 0:
        return
    other = _qform_of(image)
    if other is None:
        return
    apart = farthest(other, grid.affine, grid.shape)
    if mirrored(other, grid.affine):
        yield assumed("sides disagree")
    elif apart > min(grid.scale):
        yield assumed("places disagree", f"{apart:.3g} mm")


def _notes_on_numbers(probe: Probe, image: Any, grid: VolumeGrid) -> Iterator[str]:  # noqa: ANN401
    """Yield what is not taken as a NIfTI's header says it: nibabel mends it without a word."""
    kind = type(image.header).template_dtype.newbyteorder(image.header.endianness)
    header = np.frombuffer(probe.unpacked_head[: kind.itemsize], kind)[0]
    edges = np.abs(np.asarray(header["pixdim"][1 : 1 + _THREE], np.float64))
    lengths = np.linalg.norm(grid.affine[:3, :3], axis=0)
    known = np.isfinite(edges) & (edges > 0)
    by_matrix = int(image.header["sform_code"]) > 0
    lost = np.flatnonzero(~known & (np.array(grid.shape) > 1))
    if lost.size and not by_matrix:
        yield assumed("no spacing", " and ".join(np.array([*"ijk"])[lost]))
    apart = np.abs(edges - lengths)[known] > _OTHER_EDGES * lengths[known]
    if by_matrix and apart.any():
        said = " x ".join(map("{:.4g}".format, edges))
        yield assumed("sizes disagree", f"{said} mm, and its sform")
    negative = np.flatnonzero(np.asarray(header["pixdim"][1 : 1 + _THREE]) < 0)
    if negative.size:
        yield assumed("negative sizes", " and ".join(np.array([*"ijk"])[negative]))
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if np.isinf(slope) or (slope == 0 and np.isfinite(intercept) and intercept != 0):
        yield (
            f"Its header scales samples by {slope:g} and adds {intercept:g}, which has no meaning:"
            " they are taken as they are stored."
        )


def _qform_of(image: Any) -> NDArray[np.float64] | None:  # noqa: ANN401
    """Return the matrix of the quaternion; None where it is none, as the sform counts."""
    try:
        found = np.asarray(image.header.get_qform(), np.float64)
    except (ValueError, HeaderDataError):
        return None
    if not np.isfinite(found).all():
        return None
    return found
