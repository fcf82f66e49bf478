"""One frame of a DICOM file as its header means it: decoded, through its palette, its modality's.

Pydicom decodes, with GDCM and Pillow; what those leave out, imagecodecs.
"""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from slidecam.errors import RefusedSourceError
from slidecam.pixels import to_uint8
from slidecam.sources._dicom_slide import begins_a_frame, marks_of
from slidecam.sources._library import NotDecodedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.sources._dicom_frames import Frame
    from slidecam.sources._dicom_slide import FrameMarks
    from slidecam.sources._probe import Probe

_DECOMPRESS = "Decompress it in its archive or viewer (explicit little endian), and use that."

_JPEG, _JPEG_2000 = imagecodecs.jpeg8_decode, imagecodecs.jpeg2k_decode
_JPEG_LS = imagecodecs.jpegls_decode
_OTHERS: Mapping[str, Callable[[bytes], NDArray[Any]]] = {
    "1.2.840.10008.1.2.4.51": _JPEG,  # 12 bits; with 8, pydicom's own decoders read it
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.201": _JPEG_2000,  # High-Throughput JPEG 2000
    "1.2.840.10008.1.2.4.202": _JPEG_2000,
    "1.2.840.10008.1.2.4.203": _JPEG_2000,
}
"""What reads a compression where pydicom's decoders do not, by transfer syntax."""

_FIRST: Mapping[str, Callable[[bytes], NDArray[Any]]] = {
    "1.2.840.10008.1.2.4.80": _JPEG_LS,
    "1.2.840.10008.1.2.4.81": _JPEG_LS,
    "1.2.840.10008.1.2.4.90": _JPEG_2000,
    "1.2.840.10008.1.2.4.91": _JPEG_2000,
}
"""What reads a compression before pydicom does, whose GDCM ends the process at some damage.

Grey is taken of it; colours are read once more by pydicom, which knows what they mean."""

_KINDS: Mapping[str, frozenset[str]] = {
    "JPEG 2000": frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (90, 91, 201, 202, 203)),
    "JPEG-LS": frozenset({"1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"}),
    "JPEG": frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70)),
}
"""Transfer syntaxes by what a frame of theirs is by its own marks."""

_MOST_JPEG_BITS = 16

_SYNTAXES: dict[tuple[bool | None, bool | None], UID] = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
"""By whether the kinds of values are left out, and the least byte comes first."""

_TOO_FEW = (
    "buffer size",
    "cannot reshape",
    "than the expected",
    "doesn't match the expected",
    "no pixel data",
)
"""What pydicom and NumPy say of pixels that are not all there."""

_TORN = "its pixels end early"

PALETTE = "PALETTE COLOR"
_MODALITY_TABLE = "ModalityLUTSequence"
_OF_PADDING: Mapping[str, str] = MappingProxyType(
    {
        "PixelPaddingValue": "PixelPaddingRangeLimit",
        "FloatPixelPaddingValue": "FloatPixelPaddingRangeLimit",
        "DoubleFloatPixelPaddingValue": "DoubleFloatPixelPaddingRangeLimit",
    }
)
"""What says which samples lie outside of the picture, and where their range ends."""

_OF_BITS = ("BitsAllocated", "BitsStored", "HighBit")

_CHEAP = (
    "PhotometricInterpretation",
    "PixelRepresentation",
    "BitsStored",
    *_OF_PADDING.keys(),
    *_OF_PADDING.values(),
    _MODALITY_TABLE,
    "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor",
    "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)
"""What is read of a file beside its pixels."""


def refuse_undecodable(probe: Probe, header: Dataset) -> None:
    """Refuse pixels for whose compression no decoder is installed."""
    syntax = _syntax(header)
    if syntax is None or not syntax.is_transfer_syntax or not syntax.is_compressed:
        return
    try:
        known = get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not (known or syntax in _OTHERS or syntax == DeflatedExplicitVRLittleEndian):
        problem = f"The pixels of this DICOM series are compressed as {syntax.name}, which no"
        raise RefusedSourceError(probe.given, f"{problem} decoder here reads.", _DECOMPRESS)


def refuse_colours(probe: Probe, header: Dataset) -> None:
    """Refuse colours that are neither RGB, nor made into it by pydicom, nor of a palette."""
    seen = str(header.get("PhotometricInterpretation", ""))
    if int(header.get("SamplesPerPixel", 1)) > 1 and not seen.startswith(("RGB", "YBR", PALETTE)):
        named = seen or "of no kind that it names"
        problem = f"The colours of this DICOM series are {named}."
        raise RefusedSourceError(probe.given, problem, "Export it as grey or RGB.")


def colour_bits(header: Dataset) -> int:
    """Return the bits of its colours as they are stored; 8 of what is grey, or shown by a palette.

    A palette is a table of the colours that are meant, whatever its bits.
    """
    if int(header.get("SamplesPerPixel", 1)) == 1:
        return 8
    return int(header.get("BitsStored", 8))


def decoded(frame: Frame) -> NDArray[np.generic]:
    """Return a frame's intensities, float32 (rows, columns), as its modality means them.

    Colours are uint8, (…, 3): those of a palette too. What is padding is not-a-number.

    Raises
    ------
    NotDecodedError
        If nothing here reads its compression, though the file may be sound.
    """
    pixels = _stored(frame)
    header = _beside_pixels(frame.path)
    seen = header.get("PhotometricInterpretation")
    if seen == PALETTE:
        return _through_palette(pixels, header)
    if frame.bands > 1:
        return to_uint8(pixels, int(header.get("BitsStored", 8)))
    outside = _padded(pixels, header)
    if header.get(_MODALITY_TABLE):
        values = np.array(apply_modality_lut(pixels, header), np.float32)
        values[outside] = np.nan
        ends = float(np.fmin.reduce(values, axis=None)) + float(np.fmax.reduce(values, axis=None))
        return _light_on_dark(values, seen, ends)
    values = pixels.astype(np.float32)
    values[outside] = np.nan
    # By the range that the file can hold: by the slice's own, air would be of another grey in each
    # slice.
    lowest_and_highest = -1
    if not header.get("PixelRepresentation"):  # signed: from -2^(bits - 1) to 2^(bits - 1) - 1
        lowest_and_highest = 2 ** int(header.get("BitsStored", 1)) - 1
    values = _light_on_dark(values, seen, lowest_and_highest)
    return np.asarray(values * np.float32(frame.slope) + np.float32(frame.intercept))


def padding_of(header: Dataset) -> tuple[float, float] | None:
    """Return the range of samples, ends included, that lie outside of a grey picture; or None."""
    if header.get("SamplesPerPixel", 1) != 1 or header.get("PhotometricInterpretation") == PALETTE:
        return None
    for name, limit in _OF_PADDING.items():
        first = header.get(name)
        last = header.get(limit)
        if isinstance(first, int | float):
            if not isinstance(last, int | float):
                last = first
            return first, last
    return None


def _padded(pixels: NDArray[Any], header: Dataset) -> NDArray[np.bool_]:
    """Return which samples are padding, (rows, columns)."""
    said = padding_of(header)
    if said is None:
        return np.zeros(pixels.shape, bool)
    # Some writers say a signed value as an unsigned one, which has the same bits.
    with np.errstate(invalid="ignore"):
        low, high = np.sort(np.array(said).astype(pixels.dtype))
    return np.asarray((pixels >= low) & (pixels <= high))


def _beside_pixels(path: Path) -> Dataset:
    return dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_CHEAP))


def _light_on_dark(
    values: NDArray[np.float32],
    seen: object,
    lowest_and_highest: float,
) -> NDArray[np.float32]:
    if seen != "MONOCHROME1":
        return values
    return np.float32(lowest_and_highest) - values


def _through_palette(indices: NDArray[Any], header: Dataset) -> NDArray[np.uint8]:
    colours = np.asarray(apply_color_lut(indices, header))[..., :3]
    bits = int(header.RedPaletteColorLookupTableDescriptor[2])
    # Some writers say 16 and store 8; a table that stays below 256 is one of bytes.
    if bits == 8 or int(colours.max(initial=0)) <= 255:  # noqa: PLR2004  (a byte)
        return colours.astype(np.uint8)
    return to_uint8(colours, bits)


def _encoded(data: Dataset, syntax: UID, number: int) -> tuple[bytes, FrameMarks | None]:
    """Return a compressed frame and what its marks say, which is no other than its header's.

    Raises
    ------
    NotDecodedError
        If it is compressed by another way than its header says.
    ValueError
        If its size or its bits are others, or there are more frames: what decoders make of those is
        a picture that nobody took, or the end of the process.
    """
    count = int(data.get("NumberOfFrames") or 1)
    begun = sum(begins_a_frame(each) for each in generate_fragments(data.PixelData))
    if begun > count:
        raise ValueError(f"its file holds {begun} frames, and its header says {count}")
    encoded = get_frame(data.PixelData, number, number_of_frames=count)
    try:
        seen = marks_of(encoded)
    except EOFError as error:
        raise EOFError(f"{_TORN} ({syntax.name})") from error
    if seen is None:
        if syntax in frozenset().union(*_KINDS.values()):
            words = "does: they are of another kind, or spoilt"
            raise NotDecodedError(f"its pixels do not begin as {syntax.name} {words}")
        return encoded, None
    if syntax not in _KINDS[seen.kind]:
        words = f"its header says that they are compressed as {syntax.name}"
        raise NotDecodedError(f"its pixels are {seen.kind}, and {words}")
    said = (int(data.Columns), int(data.Rows), int(data.get("SamplesPerPixel") or 1))
    if (seen.columns, seen.rows, seen.bands) != said:
        found = f"{seen.columns}x{seen.rows} of {seen.bands} samples"
        words = "{}x{} of {} as its header says".format(*said)
        raise ValueError(f"its pixels are {found}, not {words}")
    allocated = int(data.BitsAllocated)
    if seen.bits > allocated or (seen.kind == "JPEG" and allocated > _MOST_JPEG_BITS):
        words = f"not of {allocated} as its header says"
        raise ValueError(f"its samples are of {seen.bits} bits, {words}")
    return encoded, seen


def _stored(frame: Frame) -> NDArray[Any]:
    """Return a frame's samples as they are stored, colours as RGB."""
    data = _openable(frame.path)
    try:
        if isinstance(data, Dataset):
            syntax = data.file_meta.TransferSyntaxUID
            if syntax.is_encapsulated:
                encoded, seen = _encoded(data, syntax, frame.number)
                if syntax in _FIRST and seen is not None:
                    samples = np.asarray(_FIRST[syntax](encoded))
                    if seen.bands == 1:
                        return _signed(samples, data, seen.bits)
            elif _above_low_bits(data):
                return _of_high_bits(data, frame.number)
        return pixel_array(data, index=frame.number)
    except NotDecodedError:
        raise
    except (RuntimeError, NotImplementedError) as error:
        return _by_imagecodecs(frame, error)
    except (AttributeError, ValueError) as error:
        if _is_too_short(error):
            raise EOFError(_TORN) from error
        raise


def _is_too_short(error: Exception) -> bool:
    return any(map(str(error).__contains__, _TOO_FEW))


def _openable(path: Path) -> Path | Dataset:
    """Return what pydicom decodes: the file, or its data set where its bytes do not say enough.

    So it is where all of it is deflated, as pydicom looks for pixels in the file's own bytes; and
    without the meta information that follows a preamble, which says how it is stored.
    """
    header = dcmread(path, stop_before_pixels=True, force=True, specific_tags=[*_OF_BITS, "Rows"])
    syntax = _syntax(header)
    if _above_low_bits(header):
        return _whole(path, path.stat().st_mtime_ns)
    if syntax in {None, DeflatedExplicitVRLittleEndian} or _is_misnamed(header, syntax):
        return _whole(path, path.stat().st_mtime_ns)
    if syntax.is_transfer_syntax and syntax.is_encapsulated:
        return _whole(path, path.stat().st_mtime_ns)
    return path


def _above_low_bits(header: Dataset) -> int:
    """Return how many bits lie below those of a sample: as a rule none."""
    allocated, stored, high = (int(header.get(name) or 0) for name in _OF_BITS)
    if 0 < stored <= high < allocated:
        return high + 1 - stored
    return 0


def _of_high_bits(data: Dataset, number: int) -> NDArray[Any]:
    """Return the samples of a frame that leaves bits below them, of which pydicom takes the low."""
    allocated, stored, high = (int(data[name].value) for name in _OF_BITS)
    plain = Dataset(data)
    plain.file_meta = data.file_meta
    plain.set_original_encoding(*data.original_encoding)
    plain.BitsStored, plain.HighBit = allocated, allocated - 1
    samples = pixel_array(plain, index=number)
    return np.asarray((samples << (allocated - 1 - high)) >> (allocated - stored))


def _is_misnamed(header: Dataset, syntax: UID) -> bool:
    """Whether the kinds of values are written, or left out, though the syntax says otherwise."""
    written = header.get_item("Rows")
    is_implicit = getattr(written, "is_implicit_VR", None)
    return is_implicit not in {None, syntax == ImplicitVRLittleEndian}


@lru_cache(maxsize=1)
def _whole(path: Path, _changed: int) -> Dataset:
    whole = dcmread(path, force=True)
    if _syntax(whole) is None:
        whole.file_meta.TransferSyntaxUID = _SYNTAXES[whole.original_encoding]
    return whole


def _by_imagecodecs(frame: Frame, error: Exception) -> NDArray[Any]:
    data = dcmread(frame.path, force=True)
    syntax = _syntax(data) or UID("")
    decode = _OTHERS.get(syntax)
    lines = str(error).strip().splitlines()[1:]
    problem = f"its pixels are compressed as {syntax.name}"
    if decode is None and "missing dependencies" in str(error):
        said = "; ".join(map(str.strip, lines))
        raise NotDecodedError(f"{problem}, and {said}") from error
    if _is_too_short(error):
        raise EOFError(f"{_TORN} ({syntax.name})") from error
    # Each decoder says why in words of its own code, which the error's cause keeps.
    names = [line.partition(":")[0].strip() for line in lines if ":" in line]
    if decode is None:  # a decoder that reads others does not read this one
        by = " and ".join(names) or "the decoder"
        raise ValueError(f"{problem}, and damaged: {by} cannot read them") from error
    count = int(data.get("NumberOfFrames") or 1)
    encoded = get_frame(data.PixelData, frame.number, number_of_frames=count)
    try:
        samples = np.asarray(decode(encoded))
    # The boundary of one frame: imagecodecs gives each codec an error of its own.
    except Exception as other:
        by = " and ".join([*names, "imagecodecs"])
        words = "cannot read them: they are of a kind that these do not know, or spoilt"
        raise NotDecodedError(f"{problem}, and {by} {words}") from other
    return _signed(samples, data, int(data.BitsStored))


def _signed(samples: NDArray[Any], data: Dataset, bits: int) -> NDArray[Any]:
    """Return samples as their header means them: of ``bits``, the first of which is a sign."""
    if data.PixelRepresentation and samples.dtype.kind == "u":
        unused = 8 * samples.dtype.itemsize - bits
        signed = (samples << unused).view(samples.dtype.str.replace("u", "i"))
        return np.asarray(signed >> unused)
    return samples


def _syntax(header: Dataset) -> UID | None:
    return getattr(header, "file_meta", {}).get("TransferSyntaxUID")
