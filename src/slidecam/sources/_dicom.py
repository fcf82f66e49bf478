"""What OpenSlide does not say of DICOM slides: a file's series, and whether its colours are right.

Only the first bytes of a file are looked at, for three known data elements; this is no DICOM
parser.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEAD_BYTES = 131_072

_SERIES_UID = b"\x20\x00\x0e\x00UI"
_CLASS_UID = b"\x02\x00\x02\x00UI"
_PHOTOMETRIC = b"\x28\x00\x04\x00CS"
_WHOLE_SLIDE = b"1.2.840.10008.5.1.4.1.1.77.1.6"
_DIRECTORY = b"1.2.840.10008.1.3.10"
_LONGEST_UID = 64
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_JPEG_START = b"\xff\xd8\xff"
_JFIF, _ADOBE, _START_OF_SCAN = 0xE0, 0xEE, 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2}
_COLOURS = 3


def is_dicom(path: Path) -> bool:
    """Whether a file carries DICOM's mark at byte 128."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def is_volume(path: Path) -> bool:
    """Whether a DICOM file, or the first in a folder, is a picture and no whole slide."""
    file = first_dicom(path)
    return file is not None and _element(_head(file), _CLASS_UID) not in {
        b"",
        _WHOLE_SLIDE,
        _DIRECTORY,
    }


def first_dicom(path: Path) -> Path | None:
    """Return a DICOM file itself, or the first of a folder; None where there is none."""
    candidates = [path]
    if path.is_dir():
        candidates = sorted(path.iterdir())
    return next(filter(_is_picture_file, candidates), None)


def _is_picture_file(path: Path) -> bool:
    """Whether a file is DICOM and not the directory of a medium."""
    return path.is_file() and path.name.upper() != "DICOMDIR" and is_dicom(path)


def series_files(folder: Path) -> dict[bytes, list[Path]]:
    """Return the DICOM files of a folder by their series' identifier, sorted by name."""
    series: dict[bytes, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        found = _series_of(path)
        if found is not None:
            series.setdefault(found, []).append(path)
    return series


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


def claims_rgb_but_is_ycbcr(path: Path) -> bool:
    """Whether the photometric tag says RGB while the JPEG frames, by their own marks, are YCbCr.

    A frame is YCbCr for certain if it has a JFIF mark, which knows no RGB, or an Adobe mark that
    says so. OpenSlide believes the tag and gives luminance as red; converting what it gives puts
    that right.
    """
    head = _head(path)
    if _element(head, _PHOTOMETRIC) != b"RGB":
        return False
    start = head.find(_JPEG_START, max(0, head.find(_PIXEL_DATA)))
    return start >= 0 and _jpeg_is_ycbcr(head[start:])


def _jpeg_is_ycbcr(frame: bytes) -> bool:
    jfif, adobe, components = False, None, 0
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF and frame[at + 1] != _START_OF_SCAN:  # noqa: PLR2004 - JPEG mark
        mark, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        body = frame[at + 4 : at + 2 + length]
        jfif = jfif or (mark == _JFIF and body.startswith(b"JFIF"))
        if mark == _ADOBE and body.startswith(b"Adobe"):
            adobe = body[11]
        if mark in _FRAMES:
            components = body[5]
        at += 2 + length
    return components == _COLOURS and (adobe == 1 or (adobe is None and jfif))


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
