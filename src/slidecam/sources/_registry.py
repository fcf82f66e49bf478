"""Who reads what: one entry per reader, each module imported only when its reader is chosen.

To add a reader, write a private module with ``open_slide(probe) -> Source`` and add a line to
`READERS`.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from slidecam.sources._probe import Probe
    from slidecam.sources.source import Source

NOT_MINE = 0
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
_MGH_KINDS = frozenset({0, 1, 3, 4})
_MGH_HEADER, _MGH_LONGEST = 284, 32_768
_TIFFSLIDE_KINDS = frozenset({"svs", "scn", "philips", "qpi"})
"""Not ndpi and bif, which tifffile alone reads as well and without TIFFSlide's warnings."""


@dataclass(frozen=True)
class Reader:
    """One reader: its name, how well it suits a file (0 not at all, higher first), its module."""

    name: str
    rank: Callable[[Probe], int]
    module: str

    def open(self, probe: Probe) -> Source:
        """Open what ``probe`` looked at."""
        # lazy on purpose: OpenSlide, tifffile, tiffslide and zarr load only for the slides that
        # need them
        module = import_module(f"slidecam.sources.{self.module}")
        return cast("Source", module.open_slide(probe))


def _rank_ome_zarr(probe: Probe) -> int:
    return 50 if probe.zarr else NOT_MINE


def _rank_picture(probe: Probe) -> int:
    """By the first bytes.

    BMP's two could begin a text, so that its header's size must be one that there is.
    """
    head = probe.head
    if head.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")):
        return 50
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    is_bmp = head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    return 50 if is_webp or is_bmp else NOT_MINE


def _rank_tiff(probe: Probe) -> int:
    """Before OpenSlide where no vendor is involved, else after all who know the vendor.

    OpenSlide sees no SubIFDs, which hold the levels of an OME-TIFF. Of a TIFF that it calls generic
    it knows no more than tifffile, which decodes it four times faster and never interpolates.
    """
    if not probe.is_tiff:
        return NOT_MINE
    return 40 if "ome" in probe.tiff_kinds or _vendor(probe) == "generic-tiff" else 10


def _rank_openslide(probe: Probe) -> int:
    return 30 if _vendor(probe) else NOT_MINE


def _vendor(probe: Probe) -> str | None:
    """Return OpenSlide's name of the format, or None."""
    if probe.local is None or probe.zarr:
        return None
    from slidecam.sources._openslide import vendor_of  # noqa: PLC0415 - registry: OpenSlide only for a local file

    return vendor_of(probe)


def _rank_tiffslide(probe: Probe) -> int:
    """Vendors' TIFFs that OpenSlide refused, and tiled ones behind a URL, where it cannot go."""
    if not probe.is_tiff:
        return NOT_MINE
    kinds = probe.tiff_kinds
    remote = probe.local is None and "tiled" in kinds and not kinds & {"ndpi", "bif"}
    return 20 if remote or kinds & _TIFFSLIDE_KINDS else NOT_MINE


def _rank_dicom_volume(probe: Probe) -> int:
    """Before OpenSlide, which opens DICOM whole slides alone."""
    return 35 if probe.is_dicom_volume else NOT_MINE


def _rank_nrrd(probe: Probe) -> int:
    return 50 if probe.head.startswith(b"NRRD000") else NOT_MINE


def _rank_nifti(probe: Probe) -> int:
    """NIfTI says so in its head. MGH has no mark but a version and a plausible shape."""
    head = probe.unpacked_head
    if head[344:347] in {b"n+1", b"ni1"} or head[4:7] in {b"n+2", b"ni2"}:
        return 50
    version, *shape, kind = struct.unpack(">6i", head[:24].ljust(24, b"\0"))
    is_mgh = (
        version == 1 and kind in _MGH_KINDS and all(0 < length <= _MGH_LONGEST for length in shape)
    )
    return 15 if is_mgh and len(head) >= _MGH_HEADER else NOT_MINE


READERS: tuple[Reader, ...] = (
    Reader("ome-zarr", _rank_ome_zarr, "_ome_zarr"),
    Reader("picture", _rank_picture, "_picture"),
    Reader("nifti", _rank_nifti, "_nifti"),
    Reader("nrrd", _rank_nrrd, "_nrrd"),
    Reader("dicom", _rank_dicom_volume, "_dicom_volume"),
    Reader("openslide", _rank_openslide, "_openslide"),
    Reader("tiffslide", _rank_tiffslide, "_tiffslide"),
    Reader("tiff", _rank_tiff, "_tiff"),
)
