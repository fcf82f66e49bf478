"""A first look at a path or URL: enough to choose a reader, words for what it is, and a digest."""

from __future__ import annotations

import hashlib
import stat
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from slidecam.errors import UnreadableSourceError, UsageError
from slidecam.extras import brought, words_on_url
from slidecam.objects import remote_errors
from slidecam.pixels import reason
from slidecam.registry import load
from slidecam.sources._dicom import begins_as_dicom, is_volume
from slidecam.sources._library import DECODING_ERRORS
from slidecam.system_errors import system_fault
from slidecam.viewing import DEFAULT_VIEW, VolumeView

if TYPE_CHECKING:
    from collections.abc import Iterable

    import fsspec
    from fsspec import AbstractFileSystem
else:
    fsspec = brought("fsspec", "remote")


HEAD_BYTES = 4096
GZIP = b"\x1f\x8b"
PACKED = (".nii.gz", ".mgh.gz", ".nrrd.gz")
"""Suffixes of two parts."""

ZARR_SUFFIX = ".zarr"
ZARR_MARKS = ("zarr.json", ".zattrs", ".zgroup", ".zarray")
_NOT_FOR_ALL = (401, 403)
"""What a server answers to those who may not see a file."""

_ONE_SLIDE = (
    "Pass the path of one slide or volume file, a DICOM series folder or an OME-Zarr folder."
)

_JXL = "a JPEG XL picture"
_ND2 = "a Nikon image (ND2)"
_ETS = "one file of an Olympus slide (VSI), of the folder beside its .vsi"
_OLE = "an OLE file (Zeiss ZVI, Olympus OIB, or an office document)"
_ISYNTAX = "a Philips slide (iSyntax)"
_NDPIS, _AFI = "a list of Hamamatsu slides (NDPIS)", "a list of Aperio slides (AFI)"
_QUPATH = "Export it as OME-TIFF with QuPath (File > Export images), which reads it."

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"%PDF", "a PDF"),
    (b"\x89HDF", "an HDF5 file"),
    (b"RIFF", "a RIFF file that is no WebP picture (AVI, WAV)"),
    (b"\x00\x00\x00\x0cJXL ", _JXL),
    (b"\xff\x0a", _JXL),
    (b"\xda\xce\xbe\x0a", _ND2),
    (b"SIS\0", _ETS),
    (b"\xd0\xcf\x11\xe0", _OLE),
    (b'<dataobject objecttype="dpufs', _ISYNTAX),
    (b"[nanozoomer digital pathology", _NDPIS),
    (b"<imagelist>", _AFI),
    (b"NRRD", "an NRRD volume of a kind that slidecam does not read"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"<!doctype html", "an HTML page (a download that asked for a login?)"),
    (b"<html", "an HTML page (a download that asked for a login?)"),
    (b"<?xml", "an XML file"),
)

_FOLDER = "a folder without a DICOM series or OME-Zarr metadata in it"
_MIRAX_DATA = "the data folder of a MIRAX slide"

_REMEDIES = {
    _FOLDER: "Pass the slide or volume files in it.",
    _MIRAX_DATA: "Pass the .mrxs file of the same name that lies beside it.",
    _JXL: "Save it as PNG or TIFF: `djxl IN OUT.png`.",
    _ND2: _QUPATH,
    _OLE: _QUPATH,
    _ISYNTAX: "Export it as OME-TIFF or DICOM with Philips' software, or with isyntax2raw.",
    _NDPIS: "Pass the .ndpi files that it names, one for each channel.",
    _AFI: "Pass the .svs files that it names, one for each channel.",
    _ETS: "Open its .vsi in QuPath and export it as OME-TIFF (File > Export images).",
    "a Git LFS pointer": "Run `git lfs pull` in its repository to fetch the slide itself.",
    "an empty file": "Copy or download the slide again.",
    "a ZIP archive": "Unpack it and pass the slide inside.",
    "a gzip archive": "Unpack it and pass the slide inside.",
    "a 7-Zip archive": "Unpack it and pass the slide inside.",
    "an HTML page (a download that asked for a login?)": "Download the slide again.",
}


@dataclass(frozen=True)
class Probe:
    """What open_source() knows of a path or URL before it chooses a reader.

    Attributes
    ----------
    given
        The path or URL as the user gave it.
    local
        The path on this machine, or None for a remote URL.
    head
        The first 4096 bytes, or nothing for a folder.
    zarr
        Whether zarr metadata lie in it.
    view
        How a volume is to be shown.
    content
        All of the file, where it has been read already.
    """

    given: str
    local: Path | None
    head: bytes
    zarr: bool
    view: VolumeView = DEFAULT_VIEW
    content: bytes | None = None

    @property
    def name(self) -> str:
        """The stem that names outputs."""
        if self.local is not None:
            return name_of(self.local)
        return stem_of_url(self.given)

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder on this machine."""
        return self.local is not None and self.local.is_dir()

    @cached_property
    def unpacked_head(self) -> bytes:
        """The first bytes of what a gzipped file holds; else the head itself."""
        if not self.head.startswith(GZIP):
            return self.head
        try:
            return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(self.head, HEAD_BYTES)
        except zlib.error:
            return b""

    @cached_property
    def is_dicom_volume(self) -> bool:
        """Whether this is DICOM, file or folder, and no whole slide."""
        may_be = self.is_folder or begins_as_dicom(self.head)
        if self.local is None or self.zarr or not may_be:
            return False
        return is_volume(self.local)

    @property
    def is_tiff(self) -> bool:
        """Whether the file starts as classic TIFF or BigTIFF do, in either byte order."""
        return self.head[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}

    @cached_property
    def tiff_kinds(self) -> frozenset[str]:
        """What tifffile sees in a TIFF: some of ome, svs, ndpi, scn, philips, bif, qpi."""
        if not self.is_tiff:
            return frozenset()
        # lazy on purpose, as the registry is: tifffile is loaded for TIFFs only
        kinds_of = load("slidecam.sources._tiff_pages:kinds_of")
        return cast("frozenset[str]", kinds_of(self.open))

    def open(self) -> BinaryIO:
        """Open the file for reading bytes, wherever it lies; the caller closes it."""
        if self.content is not None:
            return BytesIO(self.content)
        if self.local is not None:
            return self.local.open("rb")
        system, path = fsspec.core.url_to_fs(self.given)
        return cast("BinaryIO", system.open(path, "rb"))


def stem_of(path: PurePath) -> str:
    """Return a file's name without its suffix; ``.nii.gz`` is one."""
    lower = path.name.lower()
    for suffix in PACKED:
        if lower.endswith(suffix) and lower != suffix:
            return path.name[: -len(suffix)]
    return path.stem


def name_of(path: Path) -> str:
    """Return what outputs of a file or folder are called by.

    A folder has no suffix to lose, but for those that say what it is: ``.zarr``. Nor has a file
    called by a number: those of a DICOM series are ``IM.0001`` or 1.2.840.10008.7.
    """
    if path.suffix.lower() != ZARR_SUFFIX and path.is_dir():
        return path.name
    if path.suffix[1:].isdecimal():
        return path.name
    return stem_of(path)


def stem_of_url(url: str) -> str:
    """Return the stem of the last part of a URL's path, which names outputs."""
    return stem_of(PurePosixPath(url.split("://", 1)[-1].split("?", maxsplit=1)[0]))


def probe(path: str | Path, view: VolumeView = DEFAULT_VIEW, content: bytes | None = None) -> Probe:
    """Look at a path or URL, or at what was read of it; ``view`` says how a volume is shown.

    Raises
    ------
    UnreadableSourceError
        If there is no such file, it may not be read, or it is neither file nor folder.
    """
    given = str(path)
    if content is not None:
        return Probe(given, None, content[:HEAD_BYTES], zarr=False, view=view, content=content)
    try:
        look = _probe_local
        if "://" in given and not given.startswith("file:"):
            look = _probe_url
        return replace(look(given), view=view)
    except (*DECODING_ERRORS, *remote_errors()) as error:
        if isinstance(error, UnreadableSourceError | UsageError):
            raise
        raise _unreachable(given, error) from error


def _probe_local(given: str) -> Probe:
    local = Path(given)
    if given.startswith("file:"):
        local = Path(url2pathname(urlsplit(given).path))
    if local.name in {"", ".."}:
        local = local.resolve()  # "." has no name, and outputs need one
    mode = local.stat().st_mode
    if stat.S_ISDIR(mode):
        return Probe(given, local, b"", zarr=any((local / mark).is_file() for mark in ZARR_MARKS))
    if not stat.S_ISREG(mode):
        raise UnreadableSourceError(given, "This is neither a file nor a folder.", _ONE_SLIDE)
    with local.open("rb") as stream:
        return Probe(given, local, stream.read(HEAD_BYTES), zarr=False)


def without_query(url: str) -> tuple[str, str]:
    """Return a URL and its query, which is empty where there is none or ``?`` is part of a name."""
    if not url.startswith(("http://", "https://")):
        return url, ""
    path, _, query = url.partition("?")
    return path, query


def _probe_url(given: str) -> Probe:
    system, path = fsspec.core.url_to_fs(given)
    folder, query = without_query(path)
    for mark in ZARR_MARKS:
        place = f"{folder.rstrip('/')}/{mark}"
        if query:
            place = f"{place}?{query}"
        if system.exists(place) and _is_json(system, place):
            return Probe(given, None, b"", zarr=True)
    with system.open(path, "rb") as stream:
        return Probe(given, None, bytes(stream.read(HEAD_BYTES)), zarr=False)


def _is_json(system: AbstractFileSystem, place: str) -> bool:
    """Whether a file begins as metadata do: servers answer with a page to names they know not."""
    with system.open(place, "rb") as stream:
        return bytes(stream.read(HEAD_BYTES)).lstrip().startswith(b"{")


def _unreachable(given: str, error: Exception) -> UnreadableSourceError:
    # fsspec calls a file missing of which its server answered anything else.
    answer = error.__cause__ or error
    if getattr(answer, "status", None) in _NOT_FOR_ALL:
        problem = f"The server does not show it to everybody: {reason(answer)}."
        remedy = "Pass the URL with the token or signature that opens it, or with a new one."
        return UnreadableSourceError(given, problem, remedy)
    problem, remedy = _not_reached(given, error)
    return UnreadableSourceError(given, problem, remedy)


def _not_reached(given: str, error: Exception) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError) and "://" in given:
        problem = "There is no such file, or its server cannot be reached."
        return problem, "Check the URL and the network."
    if isinstance(error, FileNotFoundError):
        return "There is no such file.", "Check the path."
    if isinstance(error, PermissionError):
        return "This may not be read.", "Ask for the right to read it."
    if isinstance(error, ImportError):
        return words_on_url(reason(error), "copy the slide to this machine")
    fault = system_fault(error)
    if fault is not None:
        return f"{fault.problem}.", fault.remedy
    return f"This cannot be reached: {reason(error)}.", "Check the path or URL."


def looks_like(probe: Probe, formats: str) -> tuple[str, str]:
    """Return what an unrecognised file seems to be, as a noun, and the remedy that goes with it.

    ``formats`` are what is read, in words.
    """
    what = _look(probe)
    remedy = _REMEDIES.get(what, f"slidecam reads {formats}: convert it.")
    if what == _FOLDER and probe.local is not None:
        remedy = _pass_inside(probe.local) or remedy
    return what, remedy


def _pass_inside(folder: Path) -> str:
    """Return which OME-Zarr folders lie in a folder, as a remedy; empty where there are none."""
    places: set[Path] = set()
    for mark in ZARR_MARKS:
        places.update(folder.glob(f"*/{mark}"))
    names = sorted({str(place.parent) for place in places})
    if not names:
        return ""
    if len(names) == 1:
        return f"Pass the OME-Zarr folder in it: {names[0]}"
    return f"Pass one of the {len(names)} OME-Zarr folders in it, for example {names[0]}"


def _look(probe: Probe) -> str:
    if probe.local is not None and probe.is_folder:
        what = _FOLDER
        if (probe.local / "Slidedat.ini").is_file():
            what = _MIRAX_DATA
        return what
    if not probe.head:
        return "an empty file"
    start = probe.head.lstrip()[:32]
    for magic, what in _MAGIC:
        if probe.head.startswith(magic) or start.lower().startswith(magic):
            return what
    if probe.head[128:132] == b"DICM":
        return "a DICOM file without a picture in it"
    what = "a binary file of a kind slidecam does not know"
    if _is_text(probe.head):
        what = "text"
    return what


def _is_text(head: bytes) -> bool:
    printable = sum(32 <= byte < 127 or byte in b"\t\n\r" for byte in head)  # noqa: PLR2004 - ASCII's printable part
    return printable >= 0.95 * len(head)


SAMPLES = 16
SAMPLE_BYTES = 65_536
DIGITS = 32


def fingerprint_of_stream(stream: BinaryIO) -> str:
    """Return the digest of a file's size and of 16 evenly spread samples of 64 KiB.

    The samples include its ends.
    """
    size = stream.seek(0, 2)
    digest = hashlib.sha256(str(size).encode())
    last = max(0, size - SAMPLE_BYTES)
    for offset in sorted({round(last * index / (SAMPLES - 1)) for index in range(SAMPLES)}):
        stream.seek(offset)
        digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()[:DIGITS]


def fingerprint_of_files(files: Iterable[Path]) -> str:
    """Return the digest of several files together, whatever their names and order."""
    parts = []
    for file in files:
        with file.open("rb") as stream:
            parts.append(fingerprint_of_stream(stream))
    if len(parts) == 1:
        return parts[0]
    return fingerprint_of_text("\n".join(sorted(parts)))


def fingerprint_of_text(text: str) -> str:
    """Return the digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
