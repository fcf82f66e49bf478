"""DICOM slides made for it: padded levels, colours that headers lie about, objects beside them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset, FileMetaDataset, dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    VLWholeSlideMicroscopyImageStorage,
    generate_uid,
)

from slidecam.errors import RefusedSourceError
from slidecam.geometry import LevelBox, Size
from slidecam.sources import open_source
from slidecam.sources.contract import SourceCase, SourceContract, area_mean
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Pixels = NDArray[np.uint8]
SERIES, FRAME_OF_REFERENCE = generate_uid(entropy_srcs=["series"]), generate_uid()
EDGE = 128
MM = 0.000273
ANNOTATIONS = "1.2.840.10008.5.1.4.1.1.91.1"


def header(path: Path, kind: str, syntax: str, series: str = SERIES) -> Dataset:
    """Return a data set of a SOP class that is still without content."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(kind)
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = UID(syntax)
    made = Dataset()
    made.file_meta = meta
    made.SOPClassUID, made.SOPInstanceUID = UID(kind), meta.MediaStorageSOPInstanceUID
    made.SeriesInstanceUID, made.StudyInstanceUID = UID(series), generate_uid()
    made.Modality = "SM"
    return made


def raw(tile: Pixels) -> bytes:
    return tile.tobytes()


def untransformed(tile: Pixels) -> bytes:
    """Return a codestream of YCbCr that names no transform."""
    ycbcr = np.asarray(Image.fromarray(tile).convert("YCbCr"))
    return bytes(imagecodecs.jpeg2k_encode(ycbcr, codecformat="j2k", level=0, mct=False))


def transformed(tile: Pixels) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(tile, codecformat="j2k", level=0, mct=True))


def write_level(
    path: Path,
    pixels: Pixels,
    *,
    ratio: float = 1.0,
    photometric: str = "RGB",
    syntax: str = ExplicitVRLittleEndian,
    encode: Callable[[Pixels], bytes] = raw,
    kind: tuple[str, ...] = ("ORIGINAL", "PRIMARY", "VOLUME", "NONE"),
    **more: Any,
) -> Path:
    """Write one instance of a slide whose pixels are cut into tiles of 128 px."""
    height, width = pixels.shape[:2]
    made = header(path, VLWholeSlideMicroscopyImageStorage, syntax)
    made.ImageType, made.PhotometricInterpretation = list(kind), photometric
    made.TotalPixelMatrixColumns, made.TotalPixelMatrixRows = width, height
    made.Columns = made.Rows = EDGE
    made.SamplesPerPixel, made.PlanarConfiguration = 3, 0
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    made.DimensionOrganizationType = "TILED_FULL"
    made.ImagedVolumeWidth, made.ImagedVolumeHeight = width * MM * ratio, height * MM * ratio
    measures, shared, optical = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [MM * ratio, MM * ratio], 0.004
    shared.PixelMeasuresSequence = [measures]
    made.SharedFunctionalGroupsSequence = [shared]
    optical.OpticalPathIdentifier, optical.OpticalPathDescription = "1", "Brightfield"
    made.OpticalPathSequence, made.NumberOfOpticalPaths = [optical], 1
    for name, value in more.items():
        setattr(made, name, value)
    frames = []
    for top in range(0, height, EDGE):
        for left in range(0, width, EDGE):
            tile = np.zeros((EDGE, EDGE, 3), np.uint8)
            part = pixels[top : top + EDGE, left : left + EDGE]
            tile[: part.shape[0], : part.shape[1]] = part
            frames.append(encode(tile))
    made.NumberOfFrames = len(frames)
    if UID(syntax).is_compressed:
        made.PixelData = encapsulate(frames)
    else:
        made.PixelData = b"".join(frames)
    made["PixelData"].VR = "OB"
    made.save_as(path, enforce_file_format=True)
    return path


def write_object(path: Path, kind: str) -> Path:
    """Write an object that belongs to a slide and has no pixels."""
    made = header(path, kind, ExplicitVRLittleEndian, series=generate_uid())
    made.save_as(path, enforce_file_format=True)
    return path


def padded(pixels: Pixels) -> Pixels:
    """Return a level as scanners write it that know whole tiles alone."""
    height, width = (-(-length // EDGE) * EDGE for length in pixels.shape[:2])
    whole = np.full((height, width, 3), 250, np.uint8)
    whole[: pixels.shape[0], : pixels.shape[1]] = pixels
    return whole


def write_pyramid(folder: Path, levels: list[Pixels], *, pad: bool) -> Path:
    folder.mkdir()
    kind = ("ORIGINAL", "PRIMARY", "VOLUME", "NONE")
    for index, level in enumerate(levels):
        stored = padded(level) if pad and index else level
        write_level(folder / f"{index}.dcm", stored, ratio=2.0**index, kind=kind)
        kind = ("DERIVED", "PRIMARY", "VOLUME", "RESAMPLED")
    return folder


def coarser(picture: Pixels) -> list[Pixels]:
    """Return a picture and two levels of it, each half as large, rounded up."""
    found = [picture]
    while len(found) < 3:
        rows, columns = (-(-length // 2) for length in found[-1].shape[:2])
        found.append(np.rint(area_mean(found[-1], rows, columns)).astype(np.uint8))
    return found


@pytest.fixture(scope="module")
def levels(write: Any) -> list[Pixels]:
    return coarser(write.picture(3, width=2301, height=1207))


class TestPaddedDicomSlide(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any) -> SourceCase:
        def folder(path: Path, picture: Pixels) -> None:
            write_pyramid(path, coarser(picture), pad=True)

        case: SourceCase = make_case(folder, "", "openslide", spacing=1000 * MM)
        return case


class TestDicomSlideThatLiesAboutItsColours(SourceContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, make_case: Any) -> SourceCase:
        def folder(path: Path, picture: Pixels) -> None:
            path.mkdir()
            write_level(
                path / "0.dcm",
                picture,
                photometric="YBR_ICT",
                syntax=JPEG2000,
                encode=untransformed,
            )

        case: SourceCase = make_case(folder, "", "openslide", spacing=1000 * MM, tolerance=3)
        return case


def whole(source: Any, level: int = 0) -> Pixels:
    size: Size = source.facts.levels[level].size
    return np.asarray(source.read(level, LevelBox(0, 0, size.width, size.height)))


def test_padded_levels_lie_where_their_own_spacing_says(
    tmp_path: Path, levels: list[Pixels]
) -> None:
    exact, wide = (
        write_pyramid(tmp_path / "exact", levels, pad=False),
        write_pyramid(tmp_path / "padded", levels, pad=True),
    )
    with open_source(exact) as right, open_source(wide) as found:
        assert found.facts.levels == right.facts.levels
        assert [level.downsample for level in found.facts.levels] == [1.0, 2.0, 4.0]
        assert right.facts.readings == ()
        (reading,) = found.facts.readings
        assert reading == (
            "Level sizes are padded (level 1 is 1152x640 px for 1151x604; level 2 is 640x384 px"
            " for 576x302): downsamples come from each level's own spacing."
        )
        for index, level in enumerate(levels):
            np.testing.assert_array_equal(whole(found, index), level)
        thumbnails = [source.thumbnail(300).astype(int) for source in (right, found)]
        assert np.abs(thumbnails[0] - thumbnails[1]).mean() < 1.0


def test_jpeg_2000_is_ycbcr_where_its_codestream_says_so_and_not_its_header(
    tmp_path: Path, write: Any
) -> None:
    pixels = write.picture(4)[:300, :400]

    cases = {
        "lying": ("YBR_ICT", JPEG2000, untransformed),
        "lossless": ("YBR_RCT", JPEG2000Lossless, untransformed),
        "honest": ("YBR_RCT", JPEG2000Lossless, transformed),
        "rgb": ("RGB", JPEG2000Lossless, transformed),
    }
    for name, (photometric, syntax, encode) in cases.items():
        (tmp_path / name).mkdir()
        path = write_level(
            tmp_path / name / "a.dcm",
            pixels,
            photometric=photometric,
            syntax=syntax,
            encode=encode,
        )
        with open_source(path) as source:
            difference = np.abs(whole(source).astype(int) - pixels)
            assert difference.max() <= 3, name
            assert ["no such transform" in each for each in source.facts.readings] == (
                [True] if encode is untransformed else []
            )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (ANNOTATIONS, "Bulk Simple Annotations"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "Segmentation"),
        ("1.2.840.10008.5.1.4.1.1.30", "Parametric Map"),
        ("1.2.840.10008.5.1.4.1.1.88.34", "Comprehensive 3D SR"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "Grayscale Presentation State"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "Encapsulated PDF"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "RT Structure Set"),
    ],
)
def test_an_object_that_belongs_to_a_slide_is_called_what_it_is(
    tmp_path: Path, kind: str, name: str
) -> None:
    path = write_object(tmp_path / "object.dcm", kind)
    with pytest.raises(RefusedSourceError, match=f"no picture: it holds {name}, ") as caught:
        open_source(path)
    assert caught.value.remedy == "Pass the slide or series that it was made for."
    with pytest.raises(RefusedSourceError, match=rf"no picture: object\.dcm \({name}\)"):
        open_source(tmp_path)


def test_objects_beside_a_slide_are_left_out_and_named(tmp_path: Path, write: Any) -> None:
    pixels = write.picture(4)[:200, :300]
    folder = tmp_path / "case"
    folder.mkdir()
    write_object(folder / "ann.dcm", ANNOTATIONS)
    write_level(folder / "slide.dcm", pixels)
    with open_source(folder) as source:
        assert source.facts.reader == "openslide"
        (reading,) = source.facts.readings
        assert reading.endswith("no pictures are left out: Bulk Simple Annotations (1).")
        np.testing.assert_array_equal(whole(source), pixels)
    found = find_slides([folder])
    assert [slide.path for slide in found.slides] == [str(folder)]
    assert "no pictures: ann.dcm (Bulk Simple Annotations)" in found.ignored[0]
    Image.fromarray(pixels).save(folder / "other.png")
    mixed = find_slides([folder])
    assert [slide.name for slide in mixed.slides] == ["other", "slide"]
    assert len(mixed.ignored) == 1


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"TotalPixelMatrixFocalPlanes": 5}, "stack of 5 focal planes.*OME-TIFF"),
        ({"SamplesPerPixel": 1}, r"grey.*one optical path \(Brightfield\)"),
        ({"BitsStored": 12}, "12 bits per sample"),
        ({"kind": ("ORIGINAL", "PRIMARY", "LABEL", "NONE")}, "holds no slide, but its label"),
    ],
)
def test_what_is_no_rgb_picture_of_one_plane_is_refused_in_words(
    tmp_path: Path, write: Any, more: dict[str, Any], says: str
) -> None:
    path = write_level(tmp_path / "a.dcm", write.picture(4)[:128, :128], **more)
    with pytest.raises(RefusedSourceError, match=says):
        open_source(path)


def test_planes_that_the_header_does_not_count_are_found_by_the_frames(
    tmp_path: Path, write: Any
) -> None:
    path = write_level(tmp_path / "a.dcm", write.picture(4)[:256, :384])
    made = dcmread(path)
    made.PixelData, made.NumberOfFrames = made.PixelData * 3, made.NumberOfFrames * 3
    made.save_as(path)
    with pytest.raises(RefusedSourceError, match="stack of 3 focal planes"):
        open_source(path)


def test_two_scans_in_one_series_are_refused_and_two_copies_of_one_are_not(
    tmp_path: Path, write: Any
) -> None:
    pixels = write.picture(4)[:128, :256]
    first = write_level(tmp_path / "a.dcm", pixels)
    shutil.copy(first, tmp_path / "copy.dcm")
    with open_source(tmp_path) as source:
        np.testing.assert_array_equal(whole(source), pixels)
    write_level(tmp_path / "b.dcm", pixels)
    with pytest.raises(RefusedSourceError, match=r"2 pictures of 256x128 px, scans or focal"):
        open_source(tmp_path)


def test_several_optical_paths_in_no_order_are_refused(tmp_path: Path, write: Any) -> None:
    path = write_level(
        tmp_path / "a.dcm",
        write.picture(4)[:128, :128],
        OpticalPathSequence=[Dataset(), Dataset()],
        DimensionOrganizationType="TILED_SPARSE",
    )
    with pytest.raises(RefusedSourceError, match=r"2 optical paths.* in no order"):
        open_source(path)


def test_a_compression_that_openslide_does_not_read_is_named(tmp_path: Path, write: Any) -> None:
    path = write_level(tmp_path / "a.dcm", write.picture(4)[:128, :128], syntax=JPEGLSLossless)
    with pytest.raises(OSError, match="JPEG-LS Lossless Image Compression, but it cannot"):
        open_source(path)


def test_that_one_of_several_optical_paths_is_read_is_a_reading(tmp_path: Path, write: Any) -> None:
    names = []
    for name in ("Brightfield", "Polarised"):
        names.append(Dataset())
        names[-1].OpticalPathDescription = name
    path = write_level(tmp_path / "a.dcm", write.picture(4)[:128, :128], OpticalPathSequence=names)
    with open_source(path) as source:
        (reading,) = source.facts.readings
    assert "2 optical paths (Brightfield, Polarised) the first is read" in reading
