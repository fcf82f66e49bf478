"""NIfTI 1 and 2 and MGH, packed or not: nibabel reads the header, samples are read as they lie."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, cast

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.freesurfer.mghformat import MGHError, MGHImage
from nibabel.nifti1 import Nifti1Image
from nibabel.nifti2 import Nifti2Image
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from slidecam.errors import RefusedSourceError
from slidecam.sources._library import opening
from slidecam.sources._probe import GZIP, fingerprint_of_stream
from slidecam.sources._voxels import COPY_BYTES, VoxelLayout, Voxels
from slidecam.sources.volume import VolumeSource, chosen_volume, volume_facts
from slidecam.sources.volume_grid import PlaneStack, VolumeGrid

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nibabel.arrayproxy import ArrayProxy

    from slidecam.sources._probe import Probe

_NOT_OSERRORS = (ImageFileError, HeaderDataError, WrapStructError, MGHError)
_AGAIN = "Copy or convert it again."
_THREE = 3


def open_slide(probe: Probe) -> VolumeSource:
    """Open a NIfTI or MGH volume; UnreadableSourceError if damaged or no volume of numbers."""
    if probe.local is None:
        raise RefusedSourceError(
            probe.given, "Volumes are not read from URLs.", "Copy it to this machine."
        )
    with opening(probe.given, "This is a NIfTI or MGH volume", _AGAIN, _NOT_OSERRORS):
        image = _image(probe)
        layout, offset, count = _layout(probe, image)
        with probe.open() as stream:
            fingerprint = fingerprint_of_stream(stream)
    number, which = chosen_volume(probe, count)
    start = offset + number * layout.total_bytes
    packed, file = probe.head.startswith(GZIP), _data_file(image, probe)
    voxels = Voxels(layout, file, start)
    if packed:
        voxels = Voxels(layout, unpack=lambda: _unpacked(file, start, layout.total_bytes))
    stack = PlaneStack(layout.grid, probe.view.axis)
    kind = ("nifti", _format(image, packed=packed), "the affine")
    notes = (*which, *_notes(image, layout.grid))
    return VolumeSource(volume_facts(probe, stack, kind, fingerprint, notes), voxels, probe.view)


def _image(
    probe: Probe,
) -> Any:  # noqa: ANN401  (nibabel's images share no typed base that has them all)
    """Return nibabel's image by content: `nibabel.load` asks for the right suffix."""
    head = probe.unpacked_head
    kind: Any = MGHImage
    if head[344:347] in {b"n+1", b"ni1"}:
        kind = Nifti1Image
    elif head[4:7] in {b"n+2", b"ni2"}:
        kind = Nifti2Image
    if head[344:347] == b"ni1" or head[4:7] == b"ni2":
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
    dtype, bands = _samples(probe, np.dtype(proxy.dtype))
    affine = np.asarray(image.affine, np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:  # noqa: PLR2004  (mm³)
        problem = "The affine is singular, so nobody knows where its voxels lie."
        raise RefusedSourceError(probe.given, problem, "Mend its header, for example with nibabel.")
    grid = VolumeGrid((space[0], space[1], space[2]), affine)
    layout = VoxelLayout(grid, dtype, bands, float(proxy.slope), float(proxy.inter))
    return layout, int(proxy.offset), int(np.prod(rest, dtype=np.int64))


def _samples(probe: Probe, dtype: np.dtype[Any]) -> tuple[np.dtype[Any], int]:
    if dtype.names is not None and all(dtype[name] == np.uint8 for name in dtype.names):
        return np.dtype(np.uint8), len(dtype.names)
    if dtype.kind not in "iuf":
        problem = f"The voxels are {dtype}, not real numbers or colours."
        raise RefusedSourceError(
            probe.given, problem, "Convert it, for example to its magnitude as float32."
        )
    return dtype, 1


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


def _notes(image: Any, grid: VolumeGrid) -> Iterator[str]:  # noqa: ANN401
    unit = "mm"
    if hasattr(image.header, "get_xyzt_units"):
        unit = image.header.get_xyzt_units()[0]
    if unit in {"meter", "micron"}:
        note = f"Its header states {unit}s; lengths are taken for mm all the same"
        yield f"{note}, as viewers take them."
    if grid.is_oblique:
        note = "Its slices are oblique: they are taken along the file's own axes"
        yield f"{note}, and positions are of their centres."
