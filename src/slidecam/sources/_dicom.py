"""What DICOM files are, by their first bytes: a series, a slide, or no picture at all.

Only three known data elements are looked at; this is no DICOM parser.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from slidecam.registry import load

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 131_072
_META_BYTES = 4096

_SERIES_UID = b"\x20\x00\x0e\x00UI"
_CLASS_UID = b"\x02\x00\x02\x00UI"
_WHOLE_SLIDE = b"1.2.840.10008.5.1.4.1.1.77.1.6"
_DIRECTORY = b"1.2.840.10008.1.3.10"
_LONGEST_UID = 64
_PICTURE = re.compile("Image Storage|RT Dose Storage")
"""What the names of those kinds hold whose pixels are a picture."""

_LISTED = 5


def is_dicom(path: Path) -> bool:
    """Whether a file carries DICOM's mark at byte 128."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def is_volume(path: Path) -> bool:
    """Whether a DICOM file, or the first picture in a folder, is no whole slide."""
    file = first_dicom(path)
    return file is not None and _class_of(file) not in {b"", _WHOLE_SLIDE, _DIRECTORY}


def object_name(path: Path) -> str | None:
    """Return what a DICOM file holds that is no picture, nearly as the standard calls it.

    ``Segmentation``, ``Bulk Simple Annotations``, ``RT Structure Set``, ``Grayscale Presentation
    State``. None for a picture, and for a kind that the standard does not know.
    """
    kind = _class_of(path).decode("ascii", "replace")
    if kind in {"", _WHOLE_SLIDE.decode()}:
        return None
    # lazy on purpose: pydicom is loaded only where a file is no whole slide
    name = str(load("pydicom.uid:UID")(kind).name)
    if name == kind or _PICTURE.search(name):
        return None
    return re.sub("Microscopy |Softcopy | Storage$", "", name)


def first_dicom(path: Path) -> Path | None:
    """Return a DICOM file itself, or of a folder the first picture, else the first file of all.

    None where there is none.
    """
    if not path.is_dir():
        return next(filter(_is_picture_file, [path]), None)
    first = None
    for file in filter(_is_picture_file, sorted(path.iterdir())):
        if object_name(file) is None:
            return file
        first = first or file
    return first


def _is_picture_file(path: Path) -> bool:
    """Whether a file is DICOM and not the directory of a medium."""
    return path.is_file() and path.name.upper() != "DICOMDIR" and is_dicom(path)


def _class_of(path: Path) -> bytes:
    with path.open("rb") as stream:
        return _element(stream.read(_META_BYTES), _CLASS_UID)


def series_files(folder: Path) -> dict[bytes, list[Path]]:
    """Return the DICOM pictures of a folder by their series' identifier, sorted by name."""
    series: dict[bytes, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        found = _series_of(path)
        if found is not None and _object_in_folder(path) is None:
            series.setdefault(found, []).append(path)
    return series


def objects_in(folder: Path) -> dict[Path, str]:
    """Return the DICOM files of a folder that are no pictures, and what they are."""
    found: dict[Path, str] = {}
    for path in sorted(folder.iterdir()):
        name = _object_in_folder(path)
        if name is not None:
            found[path] = name
    return found


def left_out(folder: Path) -> str:
    """Return the names of a folder's files that are no pictures, for a sentence; often nothing."""
    found: list[str] = []
    for path, name in objects_in(folder).items():
        found.append(f"{path.name} ({name})")
    more = ""
    if len(found) > _LISTED:
        more = f" and {len(found) - _LISTED} more"
    return ", ".join(found[:_LISTED]) + more


def note_on_objects(folder: Path) -> tuple[str, ...]:
    """Return the reading of a folder that holds such files; by kind, as names may be a patient's.

    ``slidecam info`` and ``predict`` name the files.
    """
    kinds = Counter(objects_in(folder).values())
    if not kinds:
        return ()
    said: list[str] = []
    for name, count in kinds.items():
        said.append(f"{name} ({count})")
    return (f"Files of the folder that are no pictures are left out: {', '.join(said)}.",)


def _object_in_folder(path: Path) -> str | None:
    try:
        if _is_picture_file(path):
            return object_name(path)
    except Exception:  # noqa: BLE001  (one file of a folder: opening it says what is wrong with it)
        return None
    return None


def _series_of(path: Path) -> bytes | None:
    try:
        if _is_picture_file(path):
            return _element(_head(path), _SERIES_UID)
    except Exception:  # noqa: BLE001  (one file of a folder: opening it says what is wrong with it)
        return None
    return None


def siblings(path: Path) -> list[Path]:
    """Return the files beside ``path`` that belong to its series, itself among them."""
    return series_files(path.parent).get(_element(_head(path), _SERIES_UID), [path])


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def _element(head: bytes, tag: bytes) -> bytes:
    """Return a short text element's value (little endian, explicit or implicit), or nothing."""
    at = head.find(tag)
    if at < 0:
        return _implicit(head, tag[:4])
    start = at + len(tag) + 2
    length = int.from_bytes(head[start - 2 : start], "little")
    return head[start : start + length].rstrip(b" \0")


def _implicit(head: bytes, tag: bytes) -> bytes:
    """Return the value of a UID whose type is not written: four bytes of length follow its tag."""
    for found in re.finditer(re.escape(tag), head):
        length = int.from_bytes(head[found.end() : found.end() + 4], "little")
        value = head[found.end() + 4 : found.end() + 4 + length].rstrip(b" \0")
        if 0 < length <= _LONGEST_UID and re.fullmatch(rb"[0-9.]+", value):
            return value
    return b""
