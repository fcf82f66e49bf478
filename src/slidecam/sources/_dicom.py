"""What DICOM files are, by their own data sets: a series, a slide, or no picture at all."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.extras import is_installed
from slidecam.registry import load
from slidecam.sources._first_look import at_first_look

if TYPE_CHECKING:
    from collections.abc import Collection

_MARK = b"DICM"
_HEAD = 132
_KNOWN_FILES = 65_536
"""Files whose identity is kept, so that a folder of many slices is looked at once."""

_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_DIRECTORY = "1.2.840.10008.1.3.10"
_PICTURE = re.compile("Image Storage|US Volume Storage|RT Dose Storage")
"""What the names of those kinds hold whose pixels are a picture."""

_CLASS, _SERIES, _ROWS, _COLUMNS = 0x00080016, 0x0020000E, 0x00280010, 0x00280011
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08")
"""Of a data set without preamble: its meta information, or group 8 in either byte order."""

_KINDS_OF_VALUES = re.compile(rb"AE|AS|AT|CS|DA|DS|DT|IS|LO|LT|OB|PN|SH|ST|TM|UI|UL|UN|US|UT")
_LONGEST_FIRST = 4096
"""Bytes that the first element of a data set may be long where its kind is not written."""

_LISTED = 5
DICOM_SUFFIXES = frozenset({".dcm", ".ima"})
"""Of files that are DICOM, or were."""


@dataclass(frozen=True)
class DicomIdentity:
    """Which series a file belongs to, by its data set.

    Attributes
    ----------
    kind
        SOP class UID; empty where the file does not say.
    series
        SeriesInstanceUID; empty likewise.
    has_pixels
        Whether it says how many rows a picture of its has.
    """

    kind: str
    series: str
    has_pixels: bool

    @property
    def is_directory(self) -> bool:
        """Whether it lists the files of a medium (DICOMDIR)."""
        return self.kind == _DIRECTORY

    @property
    def key(self) -> tuple[str, str]:
        """What the files of one series have in common."""
        return self.series, self.kind

    @property
    def object_name(self) -> str | None:
        """What the file holds that is no picture; None for a picture."""
        if self.kind in {"", _WHOLE_SLIDE}:
            return None
        # lazy on purpose: pydicom is loaded only where a file is no whole slide
        name = str(load("pydicom.uid:UID")(self.kind).name)
        if name == self.kind:  # of a vendor's own
            return None
        short = re.sub("Microscopy |Softcopy | Storage$", "", name)
        if self.is_bare_header:
            return f"{short} without pixels"
        if _PICTURE.search(name):
            return None
        return short

    @property
    def is_cut_off(self) -> bool:
        """Whether it ends, as it seems, before it names its series."""
        return not (self.series or self.has_pixels or self.is_directory)

    @property
    def is_bare_header(self) -> bool:
        """Whether it is of a kind of pictures and holds none."""
        if self.has_pixels or not self.kind:
            return False
        return bool(_PICTURE.search(load("pydicom.uid:UID")(self.kind).name))


_UNKNOWN = DicomIdentity("", "", has_pixels=True)
"""Of what looks like DICOM where pydicom is not installed: a picture, whose reader says so."""


def begins_as_dicom(head: bytes) -> bool:
    """Whether a file of these first bytes may be DICOM, with a preamble or without."""
    return head[128:_HEAD] == _MARK or _begins_as_data_set(head)


def _begins_as_data_set(head: bytes) -> bool:
    """Whether a file may be DICOM without preamble: its first element is low in a low group."""
    if len(head) < _HEAD or head[:2] not in _FIRST_GROUPS:
        return False
    order = "little"
    if head[:2] == b"\x00\x08":
        order = "big"
    element = int.from_bytes(head[2:4], order)  # type: ignore[arg-type]
    if element > 0x1F:  # noqa: PLR2004  (of group 8: up to its date and class)
        return False
    if _KINDS_OF_VALUES.fullmatch(head[4:6]):
        return True
    length = int.from_bytes(head[4:8], order)  # type: ignore[arg-type]
    return head[:2] != b"\x02\x00" and 0 < length <= _LONGEST_FIRST and length % 2 == 0


def identity_of(path: Path) -> DicomIdentity | None:
    """Return what a file says of itself, or None where it is no DICOM."""
    status = path.stat()
    return _identity(path, status.st_ino, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=_KNOWN_FILES)
def _identity(path: Path, _inode: int, _size: int, _changed: int) -> DicomIdentity | None:
    return at_first_look(path, _identity_in)


def _identity_in(path: Path) -> DicomIdentity | None:
    with path.open("rb") as stream:
        head = stream.read(_HEAD)
        if not begins_as_dicom(head):
            return None
        if not is_installed("pydicom"):
            return _UNKNOWN
        is_marked = head[128:] == _MARK
        stream.seek(0)
        # lazy on purpose: pydicom is loaded for DICOM files alone
        try:
            header = load("pydicom.filereader:read_partial")(
                stream,
                stop_when=lambda tag, _kind, _length: tag > _COLUMNS,
                force=True,
                specific_tags=[_CLASS, _SERIES, _ROWS],
            )
        except Exception:  # noqa: BLE001  (bytes that are no data set: any error of the parser's)
            header = {}
    meta = getattr(header, "file_meta", {})
    kind = _written(header, _CLASS) or _written(meta, 0x00020002)
    found = DicomIdentity(kind, _written(header, _SERIES), _ROWS in header)
    if is_marked or _is_plausible(found):
        return found
    return None


def _is_plausible(found: DicomIdentity) -> bool:
    """Whether what was read without a preamble is a data set at all."""
    uids = found.kind + found.series
    return found.has_pixels or bool(re.fullmatch(r"[0-9.]{5,}", uids))


def _written(header: Any, tag: int) -> str:  # noqa: ANN401  (a data set, or an empty dict)
    """Return a UID as it is written: pydicom warns of those that are too long."""
    if tag not in header:
        return ""
    value = header.get_item(tag).value or b""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    return str(value).strip(" \0")


def is_volume(path: Path) -> bool:
    """Whether a DICOM file, or the first picture in a folder, is no whole slide."""
    file = first_dicom(path)
    found = file and identity_of(file)
    if not found or found.kind == _WHOLE_SLIDE or found.is_directory:
        return False
    return bool(found.kind) or found.has_pixels


def object_name(path: Path) -> str | None:
    """Return what a DICOM file holds that is no picture, nearly as the standard calls it.

    ``Segmentation``, ``Bulk Simple Annotations``, ``RT Structure Set``, ``Grayscale Presentation
    State``. None for a picture, and for a kind that the standard does not know.
    """
    found = identity_of(path)
    if found is None:
        return None
    return found.object_name


def is_series(path: Path) -> bool:
    """Whether a file or folder is DICOM of volumes or pictures, and no whole slide."""
    return (path.is_dir() or path.is_file()) and is_volume(path)


def first_dicom(path: Path) -> Path | None:
    """Return a DICOM file itself, or of a folder the first picture, else the first file of all.

    None where there is none.
    """
    if not path.is_dir():
        return next(filter(_may_be_picture, [path]), None)
    first = None
    for file in filter(_may_be_picture, sorted(path.iterdir())):
        found = identity_of(file)
        if found is not None and found.object_name is None and not found.is_cut_off:
            return file
        first = first or file
    return first


def _may_be_picture(path: Path) -> bool:
    """Whether a file is DICOM and not the directory of a medium."""
    if not path.is_file():
        return False
    found = identity_of(path)
    return found is not None and not found.is_directory


def files_of(folder: Path) -> dict[Path, DicomIdentity]:
    """Return the DICOM files of a folder, sorted by name."""
    known: dict[Path, DicomIdentity] = {}
    for path in sorted(folder.iterdir()):
        try:
            if not path.is_file():
                continue
            found = identity_of(path)
        except OSError:  # one file of a folder: opening it says what is wrong with it
            continue
        if found is not None:
            known[path] = found
    return known


def series_files(folder: Path) -> dict[tuple[str, str], list[Path]]:
    """Return the DICOM pictures of a folder by their series and class, sorted by name."""
    series: dict[tuple[str, str], list[Path]] = {}
    known = files_of(folder)
    for path, found in known.items():
        if found.object_name is None:
            series.setdefault(found.key, []).append(path)
    for key, files in [*series.items()]:
        if len(series) > 1 and all(known[path].is_cut_off for path in files):
            del series[key]
    return series


def objects_in(folder: Path) -> dict[Path, str]:
    """Return the DICOM files of a folder that are no pictures, and what they are."""
    objects: dict[Path, str] = {}
    for path, found in files_of(folder).items():
        name = found.object_name
        if name is not None:
            objects[path] = name
    return objects


def left_out(folder: Path) -> str:
    """Return the names of a folder's files that are no pictures, for a sentence; often nothing."""
    found: list[str] = []
    for path, name in objects_in(folder).items():
        found.append(f"{path.name} ({name})")
    more = ""
    if len(found) > _LISTED:
        more = f" and {len(found) - _LISTED} more"
    return ", ".join(found[:_LISTED]) + more


def others_in(folder: Path) -> list[Path]:
    """Return the files of a folder that are no DICOM, hidden ones apart.

    Links that lead nowhere are among them: of files that were not fetched there is no more.
    """
    visible = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(set(filter(_is_file_or_was, visible)) - files_of(folder).keys())


def _is_file_or_was(path: Path) -> bool:
    return path.is_file() or (path.is_symlink() and not path.exists())


def is_named_as_dicom(path: Path) -> bool:
    """Whether a file's name ends as DICOM does, packed or not."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix in DICOM_SUFFIXES


def note_on_objects(folder: Path, known: Collection[Path] = ()) -> tuple[str, ...]:
    """Return the reading of a folder that holds such files; by kind, as names may be a patient's.

    ``slidecam info`` and ``predict`` name the files. Nothing is said of those that are ``known``.
    """
    objects = objects_in(folder)
    kinds = Counter(name for path, name in objects.items() if path not in known)
    if not kinds:
        return ()
    said: list[str] = []
    for name, count in kinds.items():
        said.append(f"{name} ({count})")
    return (f"Files of the folder that are no pictures are left out: {', '.join(said)}.",)


def notes_on_companions(path: Path, known: Collection[Path] = ()) -> tuple[str, ...]:
    """Return the readings on what lies beside a series, its folder or a file, and is no part of it.

    Of a folder that is opened whole there is no other series. Nothing is said of files that are
    ``known``.
    """
    if path.is_dir():
        strangers = [each for each in others_in(path) if each not in known]
        return (*note_on_objects(path, known), *_note_on_strangers(strangers))
    own, others = siblings(path), []
    for files in series_files(path.parent).values():
        rest = set(files).difference(own)
        if rest:
            others.append(len(rest))
    called = (each for each in others_in(path.parent) if is_named_as_dicom(each))
    strangers = [each for each in called if each not in known]
    notes = (*note_on_objects(path.parent, known), *_note_on_strangers(strangers))
    if others:
        said = f"{len(others)} other series of the folder ({sum(others)} files)"
        notes += (f"Left out are {said}: pass a file of one to read it.",)
    return notes


def _note_on_strangers(files: list[Path]) -> tuple[str, ...]:
    if not files:
        return ()
    return (f"Files of the folder that are no DICOM are left out: {len(files)}.",)


def siblings(path: Path) -> list[Path]:
    """Return the files beside ``path`` that belong to its series, itself among them.

    A file that names no series is one by itself.
    """
    own = identity_of(path)
    if own is None or not own.series:
        return [path]
    beside = series_files(path.parent).get(own.key, [])
    if path in beside:
        return beside
    return [path]
