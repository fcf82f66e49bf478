"""What each instance of a DICOM slide says of its level, which OpenSlide leaves out.

Its own spacing, where sizes are padded to whole tiles; whether its colours are what its header
says; its optical paths and focal planes.
"""

from __future__ import annotations

import mmap
import struct
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slidecam.errors import RefusedSourceError
from slidecam.extras import brought
from slidecam.geometry import Size
from slidecam.sources.images import associated_name
from slidecam.sources.spacing import MICROMETRES, spacing_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pydicom import filereader, uid
    from pydicom.dataset import Dataset

    from slidecam.geometry import Spacing
else:
    # Half a second, which the slides of other vendors need not wait for.
    filereader = brought("pydicom.filereader", "dicom")
    uid = brought("pydicom.uid", "dicom")

_SHARED_GROUPS = 0x52009229
"""After it follow the groups of each frame, of which there may be a hundred thousand."""

_PIXEL_DATA, _ITEM, _OPEN_END = b"\xe0\x7f\x10\x00OB", b"\xfe\xff\x00\xe0", b"\xff" * 4
_JPEG_START = b"\xff\xd8\xff"
_JFIF, _ADOBE, _START_OF_SCAN = 0xE0, 0xEE, 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2}
_COLOURS = 3
_BITS = 8

_CODESTREAM = b"\xff\x4f\xff\x51"
_IN_BOXES = b"\0\0\0\x0cjP  "
"""How a JPEG 2000 begins that is stored as a file of its own is."""

_JPEG_LS_FRAME = 0xF7
_ALL_FRAMES = frozenset({*range(0xC0, 0xD0), _JPEG_LS_FRAME}) - {0xC4, 0xC8, 0xCC}
"""Marks of a JPEG that its size follows."""
_SIZ, _COD, _START_OF_TILE = 0x51, 0x52, 0x90
_MARKS = 65_536
"""Bytes of a frame that hold its marks."""

_EXPORT = "Export it as an OME-TIFF of 8-bit RGB (QuPath: File > Export images)."
_VOLUME = "VOLUME"

JPEG_MENDED = (
    "The file says RGB, but its JPEG frames are YCbCr by their own marks; their colours were"
    " converted. Viewers that believe the file show it green and pink."
)
JPEG_2000_MENDED = (
    "The file says that its JPEG 2000 frames were transformed to YCbCr, but they carry no such"
    " transform: what they hold is taken for YCbCr and converted. Viewers that leave that to the"
    " decoder show it salmon and blue."
)


@dataclass(frozen=True)
class SlideInstance:
    """One file of a DICOM slide.

    Attributes
    ----------
    size
        Of the picture that its frames make together.
    kind
        Third value of ImageType: ``VOLUME`` for a level, ``LABEL``, ``OVERVIEW``, ``THUMBNAIL``.
    spacing
        µm per pixel of this very level; None where it does not say.
    mended
        The sentence on its colours, where they are not what its header says; else empty.
    samples, bits
        Of a pixel.
    optical_paths
        What they are called: of a fluorescence slide its channels.
    planes
        How many focal planes.
    sparse
        Whether its frames lie in any order, so that of two at one place the last is shown.
    encoding
        What the standard calls the compression of its frames.
    identifier
        Of the picture that it is, or is a part of.
    """

    size: Size
    kind: str
    spacing: Spacing | None
    mended: str
    samples: int
    bits: int
    optical_paths: tuple[str, ...]
    planes: int
    sparse: bool
    encoding: str
    identifier: str

    @property
    def associated(self) -> str | None:
        """What people call it where it is no level of the slide."""
        return associated_name(self.kind)


def instances_of(paths: Sequence[Path]) -> list[SlideInstance]:
    """Return what each file of a slide says, in their order."""
    return list(map(_instance, paths))


def _instance(path: Path) -> SlideInstance:
    with path.open("rb") as stream:
        header = filereader.read_partial(
            stream, stop_when=lambda tag, _kind, _length: tag > _SHARED_GROUPS
        )
    kinds = [*header.get("ImageType", ()), "", "", ""]
    columns = header.get("TotalPixelMatrixColumns") or header.get("Columns") or 0
    rows = header.get("TotalPixelMatrixRows") or header.get("Rows") or 0
    return SlideInstance(
        size=Size(int(columns), int(rows)),
        kind=str(kinds[2]),
        spacing=_spacing(header),
        mended=_mended(path, str(header.get("PhotometricInterpretation", ""))),
        samples=int(header.get("SamplesPerPixel") or _COLOURS),
        bits=int(header.get("BitsStored") or _BITS),
        optical_paths=tuple(map(_path_name, header.get("OpticalPathSequence") or ())),
        planes=_planes(header),
        sparse=header.get("DimensionOrganizationType") == "TILED_SPARSE",
        encoding=str(uid.UID(_transfer_syntax(path)).name),
        identifier=_identifier(header),
    )


def _identifier(header: Dataset) -> str:
    """Return which picture a file is a part of, as written: pydicom warns of UIDs too long."""
    for name in ("SOPInstanceUIDOfConcatenationSource", "SOPInstanceUID"):
        if name in header:
            return str(header.get_item(name).value)
    return ""


def _planes(header: Dataset) -> int:
    """Return how many focal planes there are, by their number or by that of the frames."""
    said = int(header.get("TotalPixelMatrixFocalPlanes") or 1)
    columns, rows = header.get("Columns") or 1, header.get("Rows") or 1
    width = header.get("TotalPixelMatrixColumns") or columns
    height = header.get("TotalPixelMatrixRows") or rows
    tiles = -(-width // columns) * -(-height // rows)
    paths = max(1, len(header.get("OpticalPathSequence") or ()))
    planes, rest = divmod(int(header.get("NumberOfFrames") or 1), tiles * paths)
    if said == 1 and not rest:
        return max(1, planes)
    return said


def _transfer_syntax(path: Path) -> str:
    return str(filereader.read_file_meta_info(path).get("TransferSyntaxUID", ""))


def _spacing(header: Dataset) -> Spacing | None:
    shared = _first(header, "SharedFunctionalGroupsSequence")
    values = _first(shared, "PixelMeasuresSequence").get("PixelSpacing")
    if not values:
        return None
    down, across = (float(value) * MICROMETRES["mm"] for value in values)
    return spacing_of(across, down)


def _first(holder: Any, name: str) -> Any:  # noqa: ANN401  (a data set, or an empty dict)
    return (holder.get(name) or [{}])[0]


def _path_name(path: Dataset) -> str:
    said = path.get("OpticalPathDescription") or path.get("OpticalPathIdentifier") or "?"
    return str(said)


def refuse_odd(given: str, instances: Sequence[SlideInstance]) -> None:
    """Refuse a slide that is more or other than one RGB picture.

    Raises
    ------
    RefusedSourceError
        If there is no level among its files, or its levels are grey (as those of fluorescence are),
        of more than 8 bits, or of several focal planes.
    """
    kinds = {each.associated or "" for each in instances}
    if "" not in kinds:
        problem = f"This DICOM series holds no slide, but its {' and '.join(sorted(kinds))}."
        raise RefusedSourceError(given, problem, "Pass the slide's own file (ImageType VOLUME).")
    first = next(each for each in instances if each.associated is None)
    paths = _listed(first.optical_paths)
    if first.samples != _COLOURS:
        problem = f"This DICOM slide is grey, as fluorescence is, with {paths}: no colours of one."
        raise RefusedSourceError(given, problem, _EXPORT)
    if first.planes > 1:
        problem = f"This DICOM slide is a stack of {first.planes} focal planes, and none of them"
        problem = f"{problem} is the slide; slidecam reads no planes of DICOM slides."
        remedy = "Export the sharpest as an OME-TIFF (QuPath: File > Export images)."
        raise RefusedSourceError(given, problem, remedy)
    if first.sparse and len(first.optical_paths) > 1:
        problem = f"This DICOM slide has {paths} in no order: which is shown, nobody can say."
        raise RefusedSourceError(given, problem, _EXPORT)
    _refuse_several(given, instances)
    if first.bits != _BITS:
        problem = f"This DICOM slide has {first.bits} bits per sample; of DICOM slides 8 are read."
        raise RefusedSourceError(given, problem, _EXPORT)


def _refuse_several(given: str, instances: Sequence[SlideInstance]) -> None:
    """Refuse a series of which two pictures could be the same level."""
    found: defaultdict[Size, set[str]] = defaultdict(set)
    for each in instances:
        if each.kind == _VOLUME:
            found[each.size].add(each.identifier)
    for size, pictures in found.items():
        if len(pictures) > 1:
            problem = (
                f"This DICOM series holds {len(pictures)} pictures of {size.width}x{size.height}"
            )
            problem = f"{problem} px, scans or focal planes, and which is the slide is not said."
            raise RefusedSourceError(given, problem, "Put one of them into a folder of its own.")


def _listed(paths: Sequence[str]) -> str:
    if len(paths) == 1:
        return f"one optical path ({paths[0]})"
    return f"{len(paths)} optical paths ({', '.join(paths)})"


def note_on_paths(instances: Iterable[SlideInstance]) -> tuple[str, ...]:
    """Return the note of a slide that was scanned through several optical paths."""
    for each in instances:
        if each.kind == _VOLUME and len(each.optical_paths) > 1:
            said = f"Of {_listed(each.optical_paths)} the first is read; export another as OME-TIFF"
            return (f"{said} to read it.",)
    return ()


def _mended(path: Path, photometric: str) -> str:
    """Return the sentence on colours that are not what the header says; nothing where they are."""
    if photometric == "RGB" and _jpeg_is_ycbcr(_frame(path, _JPEG_START)):
        return JPEG_MENDED
    in_jpeg_2000 = photometric in {"YBR_ICT", "YBR_RCT"}
    if in_jpeg_2000 and _is_untransformed(_frame(path, _CODESTREAM)):
        return JPEG_2000_MENDED
    return ""


def _frame(path: Path, start: bytes) -> bytes:
    """Return the first frame's marks, or nothing where no frame begins as ``start`` does."""
    with (
        path.open("rb") as stream,
        mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        at = content.find(_PIXEL_DATA)
        if at < 0 or content[at + 8 : at + 12] != _OPEN_END:
            return b""
        table = at + 12  # the offset table is the first item, and may be as long as it likes
        if content[table : table + 4] != _ITEM:
            return b""
        frame = table + 16 + int.from_bytes(content[table + 4 : table + 8], "little")
        found = content[frame : frame + _MARKS]
    if found.startswith(start):
        return found
    return b""


def _jpeg_is_ycbcr(frame: bytes) -> bool:
    """Whether a JPEG's own marks say YCbCr.

    For certain it is, if it has a JFIF mark, which knows no RGB, or an Adobe mark that says so.
    OpenSlide believes the photometric tag and gives luminance as red; converting what it gives puts
    that right.
    """
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


@dataclass(frozen=True)
class FrameMarks:
    """What a compressed frame is by its own marks.

    Attributes
    ----------
    kind
        ``"JPEG"``, ``"JPEG-LS"`` or ``"JPEG 2000"``.
    columns, rows, bands, bits
        Its size, the samples of a pixel and the bits of a sample.
    """

    kind: str
    columns: int
    rows: int
    bands: int
    bits: int


def begins_a_frame(content: bytes) -> bool:
    """Whether bytes begin as a compressed frame does."""
    return content.startswith((_JPEG_START, _CODESTREAM, _IN_BOXES))


def marks_of(frame: bytes) -> FrameMarks | None:
    """Return what a frame's own marks say of it; None where it has none, as RLE.

    Raises
    ------
    EOFError
        If it ends before they do.
    """
    if not begins_a_frame(frame):
        return None
    if frame.startswith(_IN_BOXES):
        frame = frame[max(0, frame.find(_CODESTREAM, 0, _MARKS)) :]
    try:
        if frame.startswith(_CODESTREAM):
            right, down, left, top = struct.unpack_from(">4I", frame, 8)
            bands, depth = struct.unpack_from(">HB", frame, 40)
            return FrameMarks("JPEG 2000", right - left, down - top, bands, (depth & 0x7F) + 1)
        at = 2
        while frame[at] == 0xFF:  # noqa: PLR2004  (a mark of JPEG)
            mark, length = struct.unpack_from(">BH", frame, at + 1)
            if mark in _ALL_FRAMES:
                bits, rows, columns, bands = struct.unpack_from(">BHHB", frame, at + 4)
                kind = {_JPEG_LS_FRAME: "JPEG-LS"}.get(mark, "JPEG")
                return FrameMarks(kind, columns, rows, bands, bits)
            at += 2 + length
    except (struct.error, IndexError):
        pass
    raise EOFError("its pixels end before they say how large they are")


def _is_untransformed(codestream: bytes) -> bool:
    """Whether a JPEG 2000 codestream of three components says that none was transformed.

    Whatever its photometric tag says: the decoder undoes what the codestream names alone.
    """
    components, transform = 0, None
    at = 2
    while at + 4 <= len(codestream) and codestream[at + 1] != _START_OF_TILE:
        mark, length = codestream[at + 1], int.from_bytes(codestream[at + 2 : at + 4], "big")
        body = codestream[at + 4 : at + 2 + length]
        if mark == _SIZ:
            components = int.from_bytes(body[34:36], "big")
        if mark == _COD:
            transform = body[4]
        at += 2 + length
    return components == _COLOURS and transform == 0
