"""A DICOM frame's samples: through palettes and tables, of any bits, however compressed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from slidecam.errors import RefusedSourceError, RegionReadError
from slidecam.geometry import LevelBox
from slidecam.sources import open_source
from slidecam.sources.volume import VolumeSource

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray


def volume(source: Any) -> NDArray[Any]:
    assert isinstance(source, VolumeSource)
    return np.asarray(source.array())


def rewritten(series: Path, change: Callable[[Dataset], None]) -> Path:
    """Change every file of a series."""
    for path in series.iterdir():
        made = dcmread(path)
        change(made)
        made.save_as(path)
    return series


def plane_of(path: Path) -> Any:
    with open_source(path) as source:
        size = source.facts.size
        return source.read(0, LevelBox(0, 0, size.width, size.height)), source.facts


@pytest.fixture
def slice_(tmp_path: Path, write_volume: Any, head: NDArray[np.int16]) -> Path:
    """Return a file of one slice of its own series."""
    series: Path = write_volume.dicom(tmp_path / "one", head[:, :, 5:6])
    (path,) = series.iterdir()
    return path


@pytest.mark.parametrize("bits", [8, 16])
def test_indices_are_shown_in_the_colours_of_their_palette(slice_: Path, bits: int) -> None:
    draw = np.random.default_rng(bits)
    made = dcmread(slice_)
    indices = draw.integers(0, 190, (made.Rows, made.Columns), np.uint8)
    made.PhotometricInterpretation, made.PixelData = "PALETTE COLOR", indices.tobytes()
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 8, 8, 7, 0
    for color in ("Red", "Green", "Blue"):
        table = draw.integers(0, 2**bits, 190).astype(f"<u{bits // 8}")
        made.add_new(f"{color}PaletteColorLookupTableDescriptor", "US", [190, 0, bits])
        made.add_new(f"{color}PaletteColorLookupTableData", "OW", table.tobytes())
    made.save_as(slice_)
    pixels, facts = plane_of(slice_)
    expected = apply_color_lut(indices, made).astype(np.float64) * 255 / (2**bits - 1)
    assert facts.readings == ()
    np.testing.assert_allclose(pixels, expected, atol=0.51)


def test_colours_of_sixteen_bits_are_scaled_and_that_is_a_reading(slice_: Path) -> None:
    made = dcmread(slice_)
    shape = (made.Rows, made.Columns, 3)
    colours = np.random.default_rng(4).integers(0, 65_536, shape, np.uint16)
    made.PhotometricInterpretation, made.SamplesPerPixel = "RGB", 3
    made.PlanarConfiguration, made.PixelRepresentation = 0, 0
    made.BitsAllocated, made.BitsStored, made.HighBit = 16, 16, 15
    made.PixelData = colours.tobytes()
    made.save_as(slice_)
    pixels, facts = plane_of(slice_)
    np.testing.assert_allclose(pixels, colours / 257, atol=0.51)
    assert facts.readings == ("Samples of 16 bits were scaled to 8.",)


def test_a_modalitys_table_says_what_samples_mean(slice_: Path) -> None:
    made = dcmread(slice_)
    values = np.arange(made.Rows * made.Columns, dtype=np.uint16) % 233
    table = np.random.default_rng(8).integers(0, 4000, 233, np.uint16)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [233, 0, 16])
    item.add_new("LUTData", "OW", table.tobytes())
    item.ModalityLUTType = "US"
    made.ModalityLUTSequence = Sequence([item])
    made.PixelRepresentation, made.PixelData = 0, values.tobytes()
    made.save_as(slice_)
    expected = apply_modality_lut(values.reshape(made.Rows, made.Columns), made)
    with open_source(slice_) as source:
        assert isinstance(source, VolumeSource)
        np.testing.assert_array_equal(source.intensities(0), expected)
    assert expected.max() > 3900


def jpeg_of_12_bits(samples: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(samples, level=98, bitspersample=12))


def near(samples: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpegls_encode(samples, level=2))


def high_throughput(samples: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.htj2k_encode(samples))


@pytest.mark.parametrize(
    ("syntax", "encode", "off"),
    [
        (JPEGExtended12Bit, jpeg_of_12_bits, 90),
        (JPEGLSNearLossless, near, 2),
        (HTJ2KLossless, high_throughput, 0),
    ],
)
def test_rare_compressions_are_read(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    syntax: UID,
    encode: Callable[[NDArray[np.uint16]], bytes],
    off: int,
) -> None:
    def compress(made: Dataset) -> None:
        samples = np.frombuffer(made.PixelData, np.uint16).reshape(made.Rows, made.Columns)
        made.file_meta.TransferSyntaxUID = syntax
        made.BitsStored, made.HighBit, made.PixelRepresentation = 12, 11, 0
        made.PixelData = encapsulate([encode(samples)])
        made["PixelData"].VR = "OB"

    few = np.clip(head[:, :, 3:7], 0, 4095).astype(np.int16)
    plain = write_volume.dicom(tmp_path / "plain", few)
    series = rewritten(write_volume.dicom(tmp_path / "series", few), compress)
    with open_source(plain) as expected, open_source(series) as found:
        assert np.abs(volume(found) - volume(expected)).max() <= off


def test_a_deflated_series_is_the_same_volume(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    def deflate(made: Dataset) -> None:
        made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    plain = write_volume.dicom(tmp_path / "plain", head[:, :, :4])
    series = rewritten(write_volume.dicom(tmp_path / "series", head[:, :, :4]), deflate)
    with open_source(plain) as expected, open_source(series) as found:
        np.testing.assert_array_equal(volume(found), volume(expected))


def test_what_no_decoder_reads_is_named_and_not_called_damaged(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    def spoil(made: Dataset) -> None:
        made.file_meta.TransferSyntaxUID = JPEGExtended12Bit
        made.PixelData = encapsulate([b"\xff\xd8 of a kind that nobody knows"])
        made["PixelData"].VR = "OB"

    series = rewritten(write_volume.dicom(tmp_path / "series", head[:, :, :3]), spoil)
    with open_source(series) as source, pytest.raises(RegionReadError) as caught:
        source.read(0, LevelBox(0, 0, 4, 4))
    assert "JPEG Extended" in str(caught.value)
    assert "damaged" not in str(caught.value)


def compressed(made: Dataset, syntax: UID, encode: Callable[[NDArray[np.uint16]], bytes]) -> None:
    samples = made.pixel_array.astype(np.uint16)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelRepresentation = 0
    made.PixelData = encapsulate([encode(samples)])
    made["PixelData"].VR = "OB"


def codestream(samples: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(samples, level=0, codecformat="j2k"))


def in_boxes(samples: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(samples, level=0))


def in_jpeg_2000(made: Dataset) -> None:
    compressed(made, JPEG2000Lossless, codestream)


def in_jpeg_2000_of_boxes(made: Dataset) -> None:
    compressed(made, JPEG2000Lossless, in_boxes)


def in_jpeg_ls(made: Dataset) -> None:
    compressed(made, JPEGLSLossless, near_by_0)


def near_by_0(samples: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpegls_encode(samples))


COLOUR = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
BYTES = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}


@pytest.mark.parametrize("encode", [in_jpeg_2000, in_jpeg_2000_of_boxes, in_jpeg_ls])
@pytest.mark.parametrize(
    ("lie", "said"),
    [
        ({"Rows": 30, "Columns": 60}, "not 60x30"),
        ({"Rows": 61, "Columns": 67}, "not 67x61"),
        (COLOUR, "of 3 as its header says"),  # GDCM ends the process
        (BYTES, "of 16 bits, not of 8"),
    ],
)
def test_a_header_that_contradicts_a_frames_own_marks_is_a_failed_read(
    tmp_path: Path,
    write_volume: Any,
    head: NDArray[np.int16],
    encode: Callable[[Dataset], None],
    lie: dict[str, Any],
    said: str,
) -> None:
    series = rewritten(write_volume.dicom(tmp_path / "series", np.abs(head[:, :, 4:7])), encode)
    with open_source(series) as source:
        whole = volume(source)
    assert whole.sum() == np.abs(head[:, :, 4:7]).sum()

    def change(made: Dataset) -> None:
        for name, value in lie.items():
            setattr(made, name, value)

    with open_source(rewritten(series, change)) as source, pytest.raises(RegionReadError) as error:
        source.read(0, LevelBox(0, 0, 4, 4))
    assert said in str(error.value)


def test_pixels_of_another_compression_than_the_header_says_are_named(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    def mislead(made: Dataset) -> None:
        in_jpeg_2000(made)
        made.file_meta.TransferSyntaxUID = JPEGLosslessSV1

    series = rewritten(write_volume.dicom(tmp_path / "series", head[:, :, :3]), mislead)
    with open_source(series) as source, pytest.raises(RegionReadError) as error:
        source.read(0, LevelBox(0, 0, 4, 4))
    assert "its pixels are JPEG 2000, and its header says" in str(error.value)
    assert "damaged" not in str(error.value)


def test_a_second_frame_that_the_header_does_not_count_is_not_lost_in_silence(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    def double(made: Dataset) -> None:
        in_jpeg_2000(made)
        frame = get_frame(made.PixelData, 0, number_of_frames=1)
        made.PixelData = encapsulate([frame, frame])

    series = rewritten(write_volume.dicom(tmp_path / "series", head[:, :, :3]), double)
    with open_source(series) as source, pytest.raises(RegionReadError, match="holds 2 frames"):
        source.read(0, LevelBox(0, 0, 4, 4))


@pytest.mark.parametrize("signed", [0, 1])
def test_samples_in_the_high_bits_are_read_from_there(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16], signed: int
) -> None:
    few = np.clip(head[:, :, 3:6], 0, 2047).astype(np.int16) - 731 * signed

    def lift(made: Dataset) -> None:
        samples = np.frombuffer(made.PixelData, np.int16)
        made.PixelData = (samples << 4).astype(np.int16).tobytes()
        made.BitsStored, made.HighBit, made.PixelRepresentation = 12, 15, signed

    plain = write_volume.dicom(tmp_path / "plain", few)
    series = rewritten(write_volume.dicom(tmp_path / "series", few), lift)
    with open_source(plain) as expected, open_source(series) as found:
        np.testing.assert_array_equal(volume(found), volume(expected))


def test_a_syntax_that_contradicts_how_the_header_is_written_shifts_no_pixels(
    tmp_path: Path, write_volume: Any, head: NDArray[np.int16]
) -> None:
    plain = write_volume.dicom(tmp_path / "plain", head[:, :, 3:6])
    lies = write_volume.dicom(tmp_path / "lies", head[:, :, 3:6])
    for path in lies.iterdir():
        content = path.read_bytes()
        assert b"1.2.840.10008.1.2.1\0" in content
        path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0", 1))
    with (
        warnings.catch_warnings(action="ignore"),
        open_source(plain) as expected,
        open_source(lies) as found,
    ):
        np.testing.assert_array_equal(volume(found), volume(expected))


def test_a_file_that_is_not_written_as_its_syntax_says_is_not_called_without_pixels(
    slice_: Path,
) -> None:
    content = slice_.read_bytes()
    slice_.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", 1))
    with pytest.raises(RefusedSourceError, match="not written as its transfer syntax says"):
        open_source(slice_)
