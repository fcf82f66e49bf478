"""NIfTI beside the volume that it belongs to.

The file's own voxel order and affine, written block by block.
"""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from slidecam.files import replacing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from slidecam.sources.volume_grid import VolumeGrid

LONGEST = 32_767
"""Voxels along an axis that NIfTI-1 can count."""

SCANNER = 1
"""Code of an affine that leads to the scanner's millimetres."""

LEVEL = 2
"""Of gzip: heat hardly shrinks any more beyond it, and takes several times as long."""

WORDS = 79
"""Letters of a NIfTI description."""


def write_nifti(
    path: Path, blocks: Iterator[NDArray[np.generic]], grid: VolumeGrid, kind: str, told: str
) -> None:
    """Write a volume on the voxels of ``grid``; all of it or nothing.

    Parameters
    ----------
    path
        Ends in ``.nii.gz``.
    blocks
        (i, j, any number of k) each, in the file's own order; not-a-number is written as 0, which
        all viewers know.
    grid
        Shape and affine; the affine is stored as float32, which is all that NIfTI-1 holds.
    kind
        ``float32`` or ``uint8``.
    told
        One line for the header's description.
    """
    header = _header(grid, kind, told)
    # Without the time and the name, the same heat gives the same bytes.
    with (
        replacing(path) as fresh,
        fresh.open("wb") as stream,
        gzip.GzipFile("", "wb", LEVEL, stream, mtime=0) as packed,
    ):
        _fill(packed, header, blocks, kind)  # type: ignore[arg-type]  # a GzipFile writes bytes


def _fill(
    packed: BinaryIO, header: Nifti1Header, blocks: Iterator[NDArray[np.generic]], kind: str
) -> None:
    header.write_to(packed)
    packed.writelines(
        np.ascontiguousarray(np.nan_to_num(block).T, kind).tobytes() for block in blocks
    )


def _header(grid: VolumeGrid, kind: str, told: str) -> Nifti1Header:
    version: Callable[[], Nifti1Header] = (
        Nifti2Header if max(grid.shape) > LONGEST else Nifti1Header
    )
    header = version()
    header.set_data_shape(grid.shape)
    header.set_data_dtype(np.dtype(kind))
    header.set_xyzt_units("mm")
    header["descrip"] = told[:WORDS].encode("ascii", "replace")
    header["vox_offset"] = 352 if header.sizeof_hdr == 348 else 544  # noqa: PLR2004  (both versions' single files)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header.set_qform(grid.affine, code=SCANNER, strip_shears=True)
    header.set_sform(grid.affine, code=SCANNER)
    return header
