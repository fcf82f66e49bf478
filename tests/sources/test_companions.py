"""Slides of several files whose front is a picture, and names that promise another format."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from slidecam.errors import RefusedSourceError, UnknownFormatError
from slidecam.geometry import LevelBox, Size
from slidecam.sources import READERS, open_source
from slidecam.sources._companions import MEANT
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from pathlib import Path

PREVIEW = np.random.default_rng(9).integers(0, 256, (48, 64, 3), np.uint8)
SLIDEDAT = """[GENERAL]
[HIERARCHICAL]
INDEXFILE = Index.dat
[DATAFILE]
FILE_COUNT = 2
FILE_0 = Data0000.dat
FILE_1 = Data0001.dat
"""


def write_front(path: Path, form: str = "JPEG") -> Path:
    Image.fromarray(PREVIEW).save(path, form)
    return path


def write_mirax(path: Path, *lost: str) -> Path:
    """Write a MIRAX slide's front and its folder, without the files that were lost."""
    folder = path.with_suffix("")
    folder.mkdir()
    for name in {"Slidedat.ini", "Index.dat", "Data0000.dat", "Data0001.dat"} - {*lost}:
        (folder / name).write_text(SLIDEDAT)
    return write_front(path)


def test_the_front_of_a_mirax_slide_is_no_slide(tmp_path: Path) -> None:
    path = write_front(tmp_path / "S1.mrxs")
    for reader in (None, "openslide"):
        with pytest.raises(RefusedSourceError, match=r"MIRAX.*folder S1 is missing.*Copy the f"):
            open_source(path, reader)
    with open_source(path, "picture") as source:
        assert source.facts.size == Size(64, 48)
        assert source.facts.readings == (
            ("It is called .mrxs and is a JPEG picture: it is read as that."),
        )


@pytest.mark.parametrize(
    ("name", "lost", "says"),
    [
        ("S1.mrxs", ["Slidedat.ini"], r"Slidedat\.ini is missing in its data folder S1"),
        ("S1.mrxs", ["Data0001.dat"], r"folder S1 there is no Data0001\.dat"),
        ("S1.mrxs", ["Index.dat", "Data0000.dat"], r"no Index\.dat, Data0000\.dat"),
        ("S1.MRXS", [], r"by its name alone.*Call it S1\.mrxs"),
    ],
)
def test_what_is_missing_of_a_mirax_slide_is_named(
    tmp_path: Path, name: str, lost: list[str], says: str
) -> None:
    with pytest.raises(RefusedSourceError, match=says):
        open_source(write_mirax(tmp_path / name, *lost))


def test_a_whole_mirax_slide_is_openslides_and_never_its_preview(tmp_path: Path) -> None:
    path = write_mirax(tmp_path / "S1.mrxs")
    with pytest.raises(RefusedSourceError, match="of the kind mirax, but it cannot be opened"):
        open_source(path)


def test_a_vsi_is_the_overview_of_a_slide_that_nobody_here_reads(tmp_path: Path) -> None:
    path = tmp_path / "case 7.vsi"
    tifffile.imwrite(path, PREVIEW, photometric="rgb")
    with pytest.raises(RefusedSourceError, match=r"folder _case 7_ .*is missing.*Copy that f"):
        open_source(path)
    (tmp_path / "_case 7_" / "stack1").mkdir(parents=True)
    with pytest.raises(RefusedSourceError, match=r"_ beside it holds no \.ets.*again, whole"):
        open_source(path)
    (tmp_path / "_case 7_" / "stack1" / "frame_t.ets").write_bytes(b"SIS\0" + bytes(60))
    with pytest.raises(RefusedSourceError, match=r"neither OpenSlide nor slidecam.*QuPath"):
        open_source(path)
    with open_source(path, "tiff") as source:
        assert source.facts.readings == (
            ("It is called .vsi and is a plain TIFF: it is read as that."),
        )
    with pytest.raises(UnknownFormatError, match=r"of the folder beside its \.vsi"):
        open_source(tmp_path / "_case 7_" / "stack1" / "frame_t.ets")


def test_a_hamamatsu_set_is_one_slide_and_what_is_missing_of_it_is_named(tmp_path: Path) -> None:
    names = ["a.jpg", "a(1,0).jpg", "a_map2.jpg"]
    path = tmp_path / "a.vms"
    path.write_text(
        "[Virtual Microscope Specimen]\nNoLayers=1\nNoJpegColumns=2\nNoJpegRows=1\n"
        f"ImageFile={names[0]}\nImageFile(1,0)={names[1]}\nMapFile={names[2]}\n"
    )
    for name in names:
        write_front(tmp_path / name, "JPEG")
    write_front(tmp_path / "b.jpg")
    found = find_slides([tmp_path])
    assert [slide.path for slide in found.slides] == [
        str(tmp_path / "a.vms"),
        str(tmp_path / "b.jpg"),
    ]
    assert found.ignored == ()
    for name in names[1:]:
        (tmp_path / name).unlink()
    with pytest.raises(RefusedSourceError, match=r"no a\(1,0\)\.jpg, a_map2\.jpg beside it"):
        open_source(path)


def test_the_front_of_several_files_behind_a_url_is_refused(tmp_path: Path) -> None:
    import fsspec  # noqa: PLC0415 - for this test alone

    content = write_front(tmp_path / "S1.mrxs").read_bytes()
    fsspec.filesystem("memory").pipe_file("/fronts/S1.mrxs", content)
    with pytest.raises(RefusedSourceError, match=r"\.mrxs is the front.*Copy all of them"):
        open_source("memory://fronts/S1.mrxs")


def test_a_folder_with_a_mirax_slide_gives_its_front_once(tmp_path: Path) -> None:
    write_mirax(tmp_path / "S1.mrxs")
    assert [slide.name for slide in find_slides([tmp_path]).slides] == ["S1"]


@pytest.mark.parametrize(
    ("name", "form", "said"),
    [
        ("a.svs", "JPEG", ".svs and is a JPEG picture"),
        ("a.svs", "TIFF", ".svs and is a plain TIFF"),
        ("a.ndpi", "TIFF", ".ndpi and is a plain TIFF"),
        ("a.ome.tif", "TIFF", ".ome.tif and is a plain TIFF"),
        ("a.png", "TIFF", ".png and is a plain TIFF"),
        ("A.TIF", "PNG", ".tif and is a PNG picture"),
        ("a.jpg", "PNG", ".jpg and is a PNG picture"),
        ("a.dcm", "TIFF", ".dcm and is a plain TIFF"),
        ("a.dcm", "JPEG", ".dcm and is a JPEG picture"),
        ("a.nrrd", "TIFF", ".nrrd and is a plain TIFF"),
        ("a.mgz", "PNG", ".mgz and is a PNG picture"),
        ("a.zarr", "TIFF", ".zarr and is a plain TIFF"),
        ("a.czi", "TIFF", ".czi and is a plain TIFF"),
    ],
)
def test_a_name_that_promises_another_format_is_a_reading(
    tmp_path: Path, name: str, form: str, said: str
) -> None:
    with open_source(write_front(tmp_path / name, form)) as source:
        (reading,) = source.facts.readings
        assert reading == f"It is called {said}: it is read as that."
        assert source.read(0, LevelBox(3, 4, 5, 6)).shape == (6, 5, 3)


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.tif", "TIFF"), ("a.JPG", "JPEG"), ("slide", "PNG"), ("a.data", "TIFF"), ("a.bmp", "BMP")],
)
def test_a_name_that_says_what_the_file_is_or_nothing_is_none(
    tmp_path: Path, name: str, form: str
) -> None:
    with open_source(write_front(tmp_path / name, form)) as source:
        assert source.facts.readings == ()


def test_every_suffix_that_a_reader_names_has_a_meaning() -> None:
    known = {suffix for reader in READERS.own for suffix in reader.suffixes}
    assert known <= MEANT.keys()


@pytest.mark.shared_data
def test_no_real_slide_is_called_what_it_is_not(shared_data: Path) -> None:
    said: list[str] = []
    for path in sorted((shared_data / "slides").iterdir()):
        if path.suffix != ".txt" and "fluorescence" not in path.name:
            with open_source(path) as source:
                said.extend(each for each in source.facts.readings if "It is called" in each)
    assert said == []


def test_formats_that_nobody_here_reads_are_named(tmp_path: Path) -> None:
    for content, says in {
        b"\xda\xce\xbe\x0a" + bytes(range(60)): r"Nikon image \(ND2\).*QuPath",
        b"[NanoZoomer Digital Pathology Image Set]\n": r"Hamamatsu slides \(NDPIS\).*\.ndpi",
        b"<ImageList><Image><Path>a": r"Aperio slides \(AFI\).*\.svs",
        b'<DataObject ObjectType="DPUfsImport">': r"Philips slide \(iSyntax\).*OME-TIFF",
        b"\xd0\xcf\x11\xe0" + bytes(60): r"Zeiss ZVI.*QuPath",
        b"\xff\x0a" + bytes(range(60)): r"JPEG XL picture.*djxl",
        b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(60): r"JPEG XL picture.*djxl",
    }.items():
        (tmp_path / "a.svs").write_bytes(content)
        with pytest.raises(UnknownFormatError, match=says):
            open_source(tmp_path / "a.svs")


@pytest.mark.parametrize("suffix", [".jp2", ".j2k"])
def test_jpeg_2000_pictures_are_read_as_training_reads_them(
    tmp_path: Path, suffix: str, write: Any
) -> None:
    from slidecam.learning.data.pixels import read_picture  # noqa: PLC0415 - loads torch

    pixels = write.picture(5)[:201, :303]
    path = tmp_path / f"a{suffix}"
    Image.fromarray(pixels).save(path)
    with open_source(path) as source:
        assert (source.facts.reader, source.facts.format) == ("picture", "jpeg2000")
        assert source.facts.readings == ()
        shown = source.read(0, LevelBox(0, 0, 303, 201))
    np.testing.assert_array_equal(shown, pixels)
    np.testing.assert_array_equal(np.asarray(read_picture(path)), pixels)


NRRD = """NRRD0004
type: uint8
dimension: 3
sizes: 7 5 3
encoding: raw
space: left-posterior-superior
space directions: (1,0,0) (0,1,0) (0,0,1)
space origin: (0,0,0)
data file: {}

"""


@pytest.mark.parametrize("place", ["{root}/secret.bin", "../secret.bin", "a/../../secret.bin"])
def test_samples_in_another_folder_are_not_read(tmp_path: Path, place: str) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(105))
    (tmp_path / "data").mkdir()
    header = tmp_path / "data" / "far.nhdr"
    header.write_text(NRRD.format(place.format(root=tmp_path)))
    with pytest.raises(RefusedSourceError, match=r"data file .* outside of its folder: .*secret"):
        open_source(header)


@pytest.mark.parametrize("place", ["near.bin", "below/near.bin", "{root}/near.bin"])
def test_samples_beside_or_below_are_read_however_they_are_named(
    tmp_path: Path, place: str
) -> None:
    name = place.format(root=tmp_path)
    (tmp_path / "below").mkdir()
    (tmp_path / name).write_bytes(bytes(range(105)))
    header = tmp_path / "near.nhdr"
    header.write_text(NRRD.format(name))
    with open_source(header) as source:
        assert source.facts.planes == 3


def test_a_list_of_parts_leads_to_no_other_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"x")
    (tmp_path / "slide").mkdir()
    (tmp_path / "slide" / "a.jpg").write_bytes(b"x")
    path = tmp_path / "slide" / "s.vms"
    path.write_text(
        "[Virtual Microscope Specimen]\nImageFile=a.jpg\nMapFile=a.jpg\nMacroImage=../secret.jpg\n"
    )
    with pytest.raises(RefusedSourceError, match=r"no \.\./secret\.jpg beside it"):
        open_source(path)


@pytest.mark.parametrize("name", ["../other.ome.tif", "/other.ome.tif", "a/../../other.ome.tif"])
def test_an_ome_tiff_whose_planes_lie_elsewhere_is_refused_and_nothing_there_is_opened(
    tmp_path: Path, name: str
) -> None:
    slide = tmp_path / "folder" / "slide.ome.tif"
    slide.parent.mkdir()
    (tmp_path / "other.ome.tif").write_bytes(b"II*\0 and no more")
    planes = np.zeros((2, 64, 64), np.uint8)
    tifffile.imwrite(slide, planes, ome=True, metadata={"axes": "CYX"})
    found = str(tifffile.tiffcomment(slide))
    block = found[found.index("<TiffData") : found.index("</Pixels>")]
    there = f'<UUID FileName="{name}">urn:uuid:1</UUID>'
    said = f'<TiffData IFD="0"/><TiffData FirstC="1" IFD="0" PlaneCount="1">{there}</TiffData>'
    tifffile.tiffcomment(slide, found.replace(block, said).encode())
    with pytest.raises(RefusedSourceError, match="of this OME-TIFF is named outside of its folder"):
        open_source(slide)
