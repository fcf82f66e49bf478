"""Files that are but the front of a slide, and files whose names promise another format.

A MIRAX slide is a JPEG preview and a folder of data; a VSI is a TIFF overview and another such
folder. Read by the reader of the wrapper, either is a picture of the label. Old volumes are pairs,
a header (.hdr) and its samples (.img), and neither is anything alone.
"""

from __future__ import annotations

import os
import re
import struct
from configparser import ConfigParser
from configparser import Error as NotAnIni
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING

from slidecam.errors import RefusedSourceError
from slidecam.parsing import ParseError, bytes_in, unpacked
from slidecam.sources._first_look import at_first_look

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slidecam.sources._probe import Probe
    from slidecam.sources.source import SourceFacts

_NIFTI_MARKS = (slice(344, 347), {b"n+1", b"ni1"}), (slice(4, 7), {b"n+2", b"ni2"})
_PAIR_MARKS = (slice(344, 347), b"ni1"), (slice(4, 7), b"ni2")
_HEADER, _SAMPLES = (".hdr", ".hdr.gz"), ".img"
_ANALYZE_BYTES = 348
_ANALYZE_EXTENTS = 16_384
_MOST_DIMENSIONS = 7
_GZIP = b"\x1f\x8b"

_PICTURE_MARKS = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM")
_MIRAX, _VSI = ".mrxs", ".vsi"
_HAMAMATSU = frozenset({".vms", ".vmu"})
_SLIDEDAT = "Slidedat.ini"
_NEEDED = re.compile(r"^(?:ImageFile(?:\(.*\))?|MapFile)\s*=\s*(.+?)\s*$", re.MULTILINE)
_LISTED = re.compile(
    r"^(?:\w+File(?:\(.*\))?|MacroImage)\s*=\s*(.+?)\s*$",
    re.MULTILINE,
)
_NAMED = 3
"""Missing files that a message names."""

_QUPATH = "Export it as OME-TIFF with QuPath (File > Export images)"
_FRONT = "The file alone is read as the picture that it is with --reader"

_NO_SLIDES: Mapping[bytes, str] = MappingProxyType(
    {
        b"%PDF": "a PDF",
        b"PK\x03\x04": "a ZIP archive",
        b"\xd0\xcf\x11\xe0": "a document of Office",
        b"\x00\x05\x16\x07": "attributes of macOS",
        b"SQLite format 3": "a database",
    }
)
"""What files begin with that are called slides by mistake, or by what made them."""

_BEGIN = 16

MEANT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        ".ome.tif": frozenset({"ome"}),
        ".ome.tiff": frozenset({"ome"}),
        ".svs": frozenset({"aperio", "svs"}),
        ".ndpi": frozenset({"hamamatsu", "ndpi"}),
        ".scn": frozenset({"leica", "scn"}),
        ".bif": frozenset({"ventana", "bif"}),
        ".qptiff": frozenset({"qpi"}),
        _MIRAX: frozenset({"mirax"}),
        _VSI: frozenset(),
        ".vms": frozenset({"hamamatsu"}),
        ".vmu": frozenset({"hamamatsu"}),
        ".svslide": frozenset({"sakura"}),
        ".tif": frozenset({"tiff"}),
        ".tiff": frozenset({"tiff"}),
        ".png": frozenset({"png"}),
        ".jpg": frozenset({"jpeg"}),
        ".jpeg": frozenset({"jpeg"}),
        ".bmp": frozenset({"bmp"}),
        ".gif": frozenset({"gif"}),
        ".webp": frozenset({"webp"}),
        ".jp2": frozenset({"jpeg2000"}),
        ".j2k": frozenset({"jpeg2000"}),
        ".nii": frozenset({"nifti"}),
        ".nii.gz": frozenset({"nifti"}),
        ".mgh": frozenset({"mgh"}),
        ".mgz": frozenset({"mgh"}),
        ".nrrd": frozenset({"nrrd"}),
        ".nhdr": frozenset({"nrrd"}),
        ".dcm": frozenset({"dicom"}),
        ".zarr": frozenset({"ome-zarr"}),
        # What nobody here reads, and is no TIFF or picture either.
        **dict.fromkeys((".czi", ".lif", ".nd2", ".isyntax", ".jxl", ".heic"), frozenset()),
    }
)
"""For each suffix the marks of what it means: OpenSlide's formats, tifffile's kinds, ours."""


def suffix_of(probe: Probe) -> str:
    """Return the last suffix of what was named, in lower case."""
    return PurePosixPath(_file_name(probe)).suffix.lower()


def _file_name(probe: Probe) -> str:
    if probe.local is not None:
        return probe.local.name
    return probe.given.split("?", maxsplit=1)[0].rsplit("/", 1)[-1]


def is_front(probe: Probe) -> bool:
    """Whether a file begins as a picture, which its own slide is not."""
    return probe.head.startswith(_PICTURE_MARKS)


def refuse_front(probe: Probe) -> None:
    """Refuse a file that is but the front of a slide whose data cannot be read.

    Raises
    ------
    RefusedSourceError
        If the data of a MIRAX, VSI, VMS or VMU slide are not beside it; or are, and nobody here
        reads them.
    """
    suffix = suffix_of(probe)
    wrapped = probe.is_tiff or is_front(probe)
    is_set = suffix in _HAMAMATSU and b"irtual Microscope Specimen]" in probe.head
    if not (is_set or (wrapped and suffix in {_MIRAX, _VSI})):
        return
    if probe.local is None:
        problem = f"A {suffix} is the front of a slide in several files, which no URL leads to."
        raise RefusedSourceError(probe.given, problem, "Copy all of them to this machine.")
    check: Mapping[str, Callable[[Path], tuple[str, str] | None]] = {
        _MIRAX: _lost_of_mirax,
        _VSI: _lost_of_vsi,
    }
    lost = check.get(suffix, _lost_of_hamamatsu)(probe.local)
    if lost is None:
        return
    problem, remedy = lost
    if wrapped:
        reader = "tiff" if probe.is_tiff else "picture"
        remedy = f"{remedy} {_FRONT} {reader}."
    raise RefusedSourceError(probe.given, problem, remedy)


def _lost_of_mirax(path: Path) -> tuple[str, str] | None:
    folder = path.with_suffix("")
    begin = "This is the front of a MIRAX slide"
    remedy = (
        f"Copy the folder {folder.name} ({_SLIDEDAT}, Data*.dat) whole to lie beside it, under the"
        " same name."
    )
    if not folder.is_dir():
        return f"{begin}, whose data folder {folder.name} is missing beside it.", remedy
    ini = folder / _SLIDEDAT
    if not ini.is_file():
        return f"{begin}, and {_SLIDEDAT} is missing in its data folder {folder.name}.", remedy
    missing = _missing(folder, _named_in_slidedat(ini))
    if missing:
        return f"{begin}, and of its data folder {folder.name} there is no {missing}.", remedy
    if path.suffix != _MIRAX:
        return (
            f"{begin}, and OpenSlide opens it by its name alone.",
            f"Call it {path.stem}{_MIRAX}.",
        )
    return None


def _named_in_slidedat(ini: Path) -> list[str]:
    """Return the index and data files that a MIRAX slide's description names."""
    said = ConfigParser(interpolation=None, strict=False)
    try:
        said.read_string(ini.read_text(encoding="utf-8-sig", errors="replace"))
    except NotAnIni:
        return []
    names = [said.get("HIERARCHICAL", "INDEXFILE", fallback="")]
    if said.has_section("DATAFILE"):
        for key, value in said.items("DATAFILE"):
            if re.fullmatch(r"file_\d+", key):
                names.append(value)
    return list(filter(None, names))


def _lost_of_vsi(path: Path) -> tuple[str, str]:
    folder = path.with_name(f"_{path.stem}_")
    remedy = f"{_QUPATH}, which reads it through Bio-Formats."
    if any(folder.rglob("*.ets")):
        problem = (
            f"This is the overview of an Olympus slide (VSI): its pixels lie in the .ets files of"
            f" the folder {folder.name}, which neither OpenSlide nor slidecam reads."
        )
        return problem, remedy
    problem = f"This is the overview of an Olympus slide (VSI), whose data folder {folder.name}"
    if folder.is_dir():
        problem = f"{problem} beside it holds no .ets files."
        return problem, f"Copy that folder again, whole, and open it in QuPath. {remedy}"
    problem = f"{problem} with its .ets files is missing beside it."
    return problem, f"Copy that folder to lie beside it, and open it in QuPath. {remedy}"


def _lost_of_hamamatsu(path: Path) -> tuple[str, str] | None:
    text = _text(path)
    needed = _NEEDED.findall(text)
    needed += [name for name in _LISTED.findall(text) if leads_elsewhere(path.parent, name)]
    missing = _missing(path.parent, needed)
    if not missing:
        return None
    problem = f"This is the list of a Hamamatsu slide's files, and there is no {missing} beside it."
    return problem, "Copy all files that it names to lie beside it."


def leads_elsewhere(folder: Path, name: str) -> bool:
    """Whether a file that a file in ``folder`` names lies neither beside nor below it.

    By the name alone: a link that lies there was put there by whoever owns the folder.
    """
    home = folder.absolute()
    return not Path(os.path.normpath(home / name)).is_relative_to(os.path.normpath(home))


def refuse_elsewhere(given: str, folder: Path, name: str, what: str) -> None:
    """Refuse a file whose pixels it says to lie in another folder; RefusedSourceError.

    Whoever hands a file on could have any file of its reader's shown so.
    """
    if leads_elsewhere(folder, name):
        problem = f"The data file of {what} is named outside of its folder: {name}."
        remedy = "Put it beside the header and name it there without a folder."
        raise RefusedSourceError(given, problem, remedy)


def _lies_in(folder: Path, name: str) -> bool:
    return (folder / name).is_file() and not leads_elsewhere(folder, name)


def foreign_kind(path: Path) -> str:
    """Return what a file is that is called a slide and is none, by its first bytes.

    Empty where it may be one: what cannot be read, is empty, holds bytes that nobody knows, or text
    (a pointer of Git LFS, a server's error) is a slide that was lost, and fails as one.
    """
    try:
        begin = at_first_look(path, _beginning)
    except OSError:
        return ""
    for mark, kind in _NO_SLIDES.items():
        if begin.startswith(mark):
            return kind
    return ""


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_BEGIN)


def is_nifti(head: bytes) -> bool:
    """Whether a file begins as NIfTI 1 or 2 does, with its samples or without."""
    return any(head[where] in marks for where, marks in _NIFTI_MARKS)


def is_nifti_header(head: bytes) -> bool:
    """Whether a file begins as the header of a NIfTI pair does."""
    return any(head[where] == mark for where, mark in _PAIR_MARKS)


def is_analyze(head: bytes) -> bool:
    """Whether a file begins as the header of an ANALYZE 7.5 volume does, NIfTI's forerunner."""
    if len(head) < _ANALYZE_BYTES or is_nifti(head):
        return False
    for order in "<>":
        (size,) = struct.unpack(f"{order}i", head[:4])
        (extents,) = struct.unpack(f"{order}i", head[32:36])
        dimensions, *lengths = struct.unpack(f"{order}5h", head[40:50])
        marked = extents == _ANALYZE_EXTENTS or head[38:39] == b"r"
        plausible = 1 <= dimensions <= _MOST_DIMENSIONS and min(lengths[:2]) > 0
        if size == _ANALYZE_BYTES and (marked or plausible):
            return True
    return False


def samples_of_pair(probe: Probe) -> bool:
    """Whether a file is called as the samples of a pair are, and is nothing else known."""
    if probe.local is None or probe.is_folder or probe.is_tiff or is_front(probe):
        return False
    if is_nifti(probe.unpacked_head) or is_analyze(probe.unpacked_head):
        return False
    beside = _headers_beside(probe.local)
    if beside is None:
        return False
    return not beside or header_of_pair(probe.local) is not None


def header_of_pair(samples: Path) -> Path | None:
    """Return the header of a NIfTI or ANALYZE pair that lies beside its samples, or None."""
    for path in _headers_beside(samples) or ():
        try:
            content = bytes_in(path)
            if content.startswith(_GZIP):
                content = unpacked(content)
        except ParseError:  # it is no header, whatever it is
            continue
        if is_nifti_header(content) or is_analyze(content):
            return path
    return None


def _headers_beside(samples: Path) -> list[Path] | None:
    """Return the files beside samples that are called as their header; None if these are none."""
    name = samples.name
    stem = name.lower().removesuffix(".gz")
    if not stem.endswith(_SAMPLES):
        return None
    stem = name[: len(stem) - len(_SAMPLES)]
    names = [stem + suffix for suffix in _HEADER] + [stem + suffix.upper() for suffix in _HEADER]
    return [samples.with_name(each) for each in names if samples.with_name(each).is_file()]


def parts_in(folder: Path) -> set[Path]:
    """Return the files of a folder that a Hamamatsu set in it is made of: none is a slide."""
    parts: set[Path] = set()
    for path in folder.iterdir():
        if path.suffix.lower() in _HAMAMATSU and path.is_file():
            parts.update(folder / name for name in _LISTED.findall(_text(path)))
    return parts


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _missing(folder: Path, names: list[str]) -> str:
    """Return which of the names are no files of the folder, for a sentence."""
    lost = [name for name in dict.fromkeys(names) if not _lies_in(folder, name)]
    more = ""
    if len(lost) > _NAMED:
        more = f" (and {len(lost) - _NAMED} more)"
    return ", ".join(lost[:_NAMED]) + more


def note_on_name(probe: Probe, facts: SourceFacts) -> tuple[str, ...]:
    """Return the reading of a file that is no such thing as its suffix says; else nothing."""
    name = _file_name(probe).lower()
    for suffix, meant in MEANT.items():
        if name.endswith(suffix):
            if meant & _marks(probe, facts):
                return ()
            return (f"It is called {suffix} and is {_noun(probe, facts)}: it is read as that.",)
    return ()


def _marks(probe: Probe, facts: SourceFacts) -> frozenset[str]:
    marks = {facts.format.partition(",")[0], facts.reader, *probe.tiff_kinds}
    if probe.is_tiff:
        marks.add("tiff")
    return frozenset(marks)


def _noun(probe: Probe, facts: SourceFacts) -> str:
    if facts.reader == "picture":
        return f"a {facts.format.upper()} picture"
    if "ome" in probe.tiff_kinds:
        return "an OME-TIFF"
    if facts.reader == "tiff":
        return "a plain TIFF"
    if facts.stack is not None:
        return f"a volume of the kind {facts.format}"
    return f"a slide of the kind {facts.format} to the reader {facts.reader}"
