"""Who reads what, by what the file holds and not by its name.

There is one entry per reader, and each module is imported only when its reader is chosen. To add a
reader, write a private module with ``open_slide(probe) -> Source`` and an entry in `READERS`; in
another package, an entry point of the group ``slidecam.readers`` that names a `Reader`. What is
found in folders, `napari.yaml`, ``slidecam doctor``, ``--help`` and the versions in ``run.json``
follow from the entry.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from slidecam.errors import ReaderFailedError
from slidecam.registry import Entry, Registry, load, resolve
from slidecam.sources._companions import is_analyze, is_nifti, samples_of_pair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from slidecam.sources._probe import Probe
    from slidecam.sources.source import Source


NOT_MINE = 0
_PICTURE_STARTS = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
)
"""PNG, JPEG, GIF, and JPEG 2000 in its box or bare."""

_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
_MGH_KINDS = frozenset({0, 1, 3, 4})
_MGH_HEADER, _MGH_LONGEST = 284, 32_768
_TIFFSLIDE_KINDS = frozenset({"svs", "scn", "philips", "qpi"})
"""Not ndpi and bif, which tifffile alone reads as well and without TIFFSlide's warnings."""


_HERE = "slidecam.sources"


@dataclass(frozen=True)
class Reader(Entry):
    """One reader.

    Attributes
    ----------
    rank
        How well it suits what a first look found: `NOT_MINE`, or a number, higher first. Ours lie
        between 10 and 60.
    opener
        ``module:attribute`` of ``open_slide(probe) -> Source``, or the function itself; an
        `UnreadableSourceError` from it lets the next reader try, a `RefusedSourceError` is final.
    suffixes
        What its files are called, in lower case with the dot. A folder's files are chosen by them;
        a file that is named itself is read whatever it is called.
    formats
        What it reads, as people call it.
    viewers
        Whether napari asks us for files of these suffixes; it opens pictures itself.
    native
        Whether its library's native code may end the process, hang it or fill it on a hostile file:
        `slidecam.sources.apart` reads in a process of its own then.
    """

    rank: Callable[[Probe], int]
    opener: Callable[[Probe], Source] | str
    suffixes: tuple[str, ...]
    formats: tuple[str, ...] = ()
    viewers: bool = True
    native: bool = False

    def open(self, probe: Probe) -> Source:
        """Open what ``probe`` looked at; UsageError where what it needs is not installed."""
        self.refuse_absent(path=probe.given)
        # lazy on purpose: OpenSlide, tifffile, tiffslide and zarr load only for the slides that
        # need them
        failed = partial(ReaderFailedError, probe.given)
        with READERS.boundary(self.name, failed):
            return cast("Source", resolve(self.opener)(probe))

    @property
    def undone(self) -> str:
        """What cannot be done without its packages, as a clause."""
        return f"this {' or '.join(self.formats) or 'slide'} cannot be read"


def _rank_ome_zarr(probe: Probe) -> int:
    if probe.zarr:
        return 50
    return NOT_MINE


def _rank_picture(probe: Probe) -> int:
    """By the first bytes.

    BMP's two could begin a text, so that its header's size must be one that there is.
    """
    head = probe.head
    if head.startswith(_PICTURE_STARTS):
        return 50
    is_webp = head.startswith(b"RIFF") and head[8:12] == b"WEBP"
    is_bmp = head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS
    if is_webp or is_bmp:
        return 50
    return NOT_MINE


def _rank_tiff(probe: Probe) -> int:
    """Before OpenSlide where no vendor is involved, else after all who know the vendor.

    OpenSlide sees no SubIFDs, which hold the levels of an OME-TIFF. Of a TIFF that it calls generic
    it knows no more than tifffile, which decodes it four times faster and never interpolates. Of a
    vendor's stack it reads one plane alone.
    """
    if not probe.is_tiff:
        return NOT_MINE
    of_a_stack = probe.view.slide.chosen.keys() & {"plane", "time"}
    if of_a_stack or "ome" in probe.tiff_kinds or _vendor(probe) == "generic-tiff":
        return 40
    return 10


def _rank_openslide(probe: Probe) -> int:
    """Before the reader of the wrapper, where a vendor's file is a JPEG as MIRAX's are."""
    if not _vendor(probe):
        return NOT_MINE
    if _rank_picture(probe):
        return 60
    return 30


def _vendor(probe: Probe) -> str | None:
    """Return OpenSlide's name of the format, or None."""
    if probe.local is None or probe.zarr:
        return None
    # lazy on purpose: OpenSlide is loaded for local files only
    return cast("str | None", load(f"{_HERE}._openslide:vendor_of")(probe))


def _rank_tiffslide(probe: Probe) -> int:
    """Vendors' TIFFs that OpenSlide refused, or behind a URL, where it cannot go."""
    if probe.is_tiff and probe.tiff_kinds & _TIFFSLIDE_KINDS:
        return 20
    return NOT_MINE


def _rank_dicom_volume(probe: Probe) -> int:
    """Before OpenSlide, which opens DICOM whole slides alone."""
    if probe.is_dicom_volume:
        return 35
    return NOT_MINE


def _rank_nrrd(probe: Probe) -> int:
    if probe.head.startswith(b"NRRD000"):
        return 50
    return NOT_MINE


def _rank_nifti(probe: Probe) -> int:
    """NIfTI says so in its head. MGH has no mark but a version and a plausible shape.

    ANALYZE, and the samples of a pair without their header, are refused by name.
    """
    head = probe.unpacked_head
    if is_nifti(head):
        return 50
    if is_analyze(head) or samples_of_pair(probe):
        return 10
    version, *shape, kind = struct.unpack(">6i", head[:24].ljust(24, b"\0"))
    plausible = all(0 < length <= _MGH_LONGEST for length in shape)
    is_mgh = version == 1 and kind in _MGH_KINDS and plausible
    if is_mgh and len(head) >= _MGH_HEADER:
        return 15
    return NOT_MINE


READERS: Registry[Reader] = Registry(
    "slidecam.readers",
    Reader,
    (
        Reader(
            "ome-zarr",
            _rank_ome_zarr,
            f"{_HERE}._ome_zarr:open_slide",
            suffixes=(".zarr",),
            formats=("OME-Zarr",),
            packages=("zarr",),
            help="OME-Zarr images",
        ),
        Reader(
            "picture",
            _rank_picture,
            f"{_HERE}._picture:open_slide",
            suffixes=(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".jp2", ".j2k"),
            formats=("PNG", "JPEG", "BMP", "GIF", "WebP", "JPEG 2000"),
            packages=("pillow",),
            native=True,
            check=f"{_HERE}._picture:check",
            viewers=False,
            help="single pictures",
        ),
        Reader(
            "nifti",
            _rank_nifti,
            f"{_HERE}._nifti:open_slide",
            suffixes=(".nii", ".nii.gz", ".mgh", ".mgz"),
            formats=("NIfTI", "MGZ"),
            packages=("nibabel",),
            help="NIfTI and FreeSurfer volumes",
        ),
        Reader(
            "nrrd",
            _rank_nrrd,
            f"{_HERE}._nrrd:open_slide",
            suffixes=(".nrrd", ".nhdr"),
            formats=("NRRD",),
            packages=("pynrrd",),
            help="NRRD volumes",
        ),
        Reader(
            "dicom",
            _rank_dicom_volume,
            f"{_HERE}._dicom_volume:open_slide",
            suffixes=(".dcm",),
            formats=("DICOM",),
            packages=("pydicom", "python-gdcm"),
            help="DICOM series as volumes",
        ),
        Reader(
            "openslide",
            _rank_openslide,
            f"{_HERE}._openslide:open_slide",
            suffixes=(
                ".svs",
                ".ndpi",
                ".mrxs",
                ".scn",
                ".bif",
                ".vms",
                ".vmu",
                ".svslide",
            ),
            formats=("OpenSlide formats",),
            packages=("openslide-python", "openslide-bin"),
            native=True,
            check=f"{_HERE}._openslide:check",
            help="slides of Aperio, Hamamatsu, 3DHISTECH, Leica, Ventana and others",
        ),
        Reader(
            "tiffslide",
            _rank_tiffslide,
            f"{_HERE}._tiffslide:open_slide",
            suffixes=(".qptiff",),
            packages=("tiffslide",),
            native=True,
            check=f"{_HERE}._tiffslide:check",
            help="vendors' TIFFs that OpenSlide refuses, and those behind a URL",
        ),
        Reader(
            "tiff",
            _rank_tiff,
            f"{_HERE}._tiff:open_slide",
            suffixes=(".tif", ".tiff"),
            formats=("TIFF", "OME-TIFF"),
            packages=("tifffile", "imagecodecs"),
            native=True,
            check=f"{_HERE}._tiff:check",
            help="TIFF and OME-TIFF",
        ),
    ),
)
"""Ours, in the order in which they are listed to people."""


def slide_suffixes() -> tuple[str, ...]:
    """Return what files are called that the readers open, in the order of the readers."""
    return _suffixes(READERS.values())


def suffixes_for_viewers() -> tuple[str, ...]:
    """Return the suffixes of our own readers' files, but of those that a viewer opens itself.

    Another package names its own in a manifest of its own.
    """
    return _suffixes(reader for reader in READERS.own if reader.viewers)


def _suffixes(readers: Iterable[Reader]) -> tuple[str, ...]:
    found: list[str] = []
    for reader in readers:
        found.extend(reader.suffixes)
    return tuple(dict.fromkeys(found))


def is_named_as_native(path: Path) -> bool:
    """Whether a file of this machine is called as those that readers of native code read."""
    native = [reader for reader in READERS.values() if reader.native]
    return path.name.lower().endswith(_suffixes(native)) and path.is_file()


def may_be_native(probe: Probe) -> bool:
    """Whether a reader of native code may have to open a file, by a first look.

    Nothing of such a library runs for it. What nobody else knows is theirs too: it is they who tell
    what it is.
    """
    if (probe.local is None and probe.content is None) or probe.zarr:
        return False
    others = [reader for reader in READERS.values() if not reader.native]
    return not any(_claims(reader, probe) for reader in others)


def _claims(reader: Reader, probe: Probe) -> bool:
    try:
        with READERS.boundary(reader.name, partial(ReaderFailedError, probe.given)):
            return reader.rank(probe) != NOT_MINE
    except ReaderFailedError:
        return False


def formats_read() -> str:
    """Return what is read, as the words of a list: ``TIFF, PNG and NRRD``."""
    words: list[str] = []
    for reader in READERS.values():
        words.extend(reader.formats)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def reader_packages() -> tuple[str, ...]:
    """Return the distributions that the readers need."""
    names: list[str] = []
    for reader in READERS.values():
        names.extend(reader.packages)
    return tuple(dict.fromkeys(names))


def reader_names() -> tuple[str, ...]:
    """Return the names that ``open_source(path, reader=...)`` takes."""
    return tuple(READERS)
