"""What a user names on a command line, and the slides meant by it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import MediaStorageDirectoryStorage as MediaStorageDirectory

from slidecam.errors import UsageError
from slidecam.learning.data.picture_files import SUFFIXES as TRAINED
from slidecam.sources import discovery, open_source
from slidecam.sources.discovery import find_slides
from slidecam.sources.names import FindSpec

if TYPE_CHECKING:
    from pathlib import Path


def names(*inputs: Path | str) -> list[str]:
    return [slide.name for slide in find_slides(inputs).slides]


def fill(folder: Path, *files: str) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content of " + name.encode())
    return folder


def test_a_folder_gives_its_slides_in_order_and_tells_what_it_leaves_out(tmp_path: Path) -> None:
    fill(tmp_path, "b.svs", "a.TIFF", "notes.txt", ".hidden.tif", "deeper/c.svs")
    found = find_slides([tmp_path])
    assert [slide.name for slide in found.slides] == ["a", "b"]
    files, folders = found.ignored
    assert "notes.txt" in files
    assert "deeper" in folders


def test_folders_that_were_not_searched_are_named_but_for_results_and_companions(
    tmp_path: Path,
) -> None:
    for name in ("one.svs", "two.mrxs", "three.vsi"):
        (tmp_path / name).touch()
    for name in ("batch_b", "old", "two", "_three_", ".hidden", "results", "results/one"):
        (tmp_path / name).mkdir()
    (tmp_path / "two" / "Slidedat.ini").touch()
    (tmp_path / "results" / "manifest.json").touch()
    (tmp_path / "batch_b" / "four.svs").touch()
    said = find_slides([tmp_path]).ignored[-1]
    assert said == (
        f"{tmp_path}: folders in it that were not searched: batch_b, old. Name them too, or"
        " pass --recursive, and the slides in them are taken."
    )
    both = find_slides([tmp_path, tmp_path / "batch_b"])
    assert both.slides[-1].name == "four"
    assert both.ignored[-1].startswith(f"{tmp_path}: folders in it that were not searched: old. ")


def test_a_folder_that_may_not_be_looked_into_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a.svs", "lost+found/b.svs")

    def refuse(folder: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(
        discovery, "is_slide_folder", lambda folder: folder != tmp_path and refuse(folder)
    )
    assert names(tmp_path) == ["a"]


def test_pictures_of_every_kind_that_training_reads_are_taken(tmp_path: Path) -> None:
    assert names(fill(tmp_path, *(f"{suffix[1:]}{suffix}" for suffix in TRAINED))) == sorted(
        s[1:] for s in TRAINED
    )


def test_a_file_that_is_named_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    assert names(fill(tmp_path, "slide.data") / "slide.data") == ["slide"]


def test_an_ome_zarr_folder_is_one_slide(tmp_path: Path) -> None:
    fill(tmp_path, "x.zarr/zarr.json", "x.zarr/0/zarr.json", "y.svs")
    assert names(tmp_path / "x.zarr") == ["x"]
    assert names(tmp_path) == ["x", "y"]


def test_a_url_is_named_after_its_last_part() -> None:
    assert names("memory://slide.ome.zarr", "s3://bucket/folder/other.svs?version=2") == [
        "slide.ome",
        "other",
    ]


def test_slides_that_share_a_stem_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a.svs", "A.tif")
    with pytest.raises(UsageError, match="share the stem"):
        names(tmp_path)


def test_a_folder_keeps_what_follows_a_dot_and_gets_its_parents_name_where_two_share_one(
    tmp_path: Path, write_volume: Any
) -> None:
    voxels = np.zeros((9, 8, 3), np.int16)

    def series(*parts: str, **header: str) -> Path:
        made: Path = write_volume.dicom(tmp_path.joinpath(*parts), voxels, **header)
        return made

    assert names(series("sub.01"), series("sub.02")) == ["sub.01", "sub.02"]
    one, two = series("PAT1", "SE1"), series("PAT2", "SE1")
    assert names(one, two) == ["PAT1-SE1", "PAT2-SE1"]
    assert names(one) == names(one, one) == ["SE1"]
    deep = names(series("a", "x", "s"), series("b", "x", "s"))
    assert [name[:4] for name in deep] == ["x-s-", "x-s-"]
    assert len(set(deep)) == 2
    roe = series("Roe", "s", PatientName="Roe^Janet", SeriesInstanceUID="1.2.826.5.1")
    poe = series("Poe", "s", PatientName="Poe^Edgar", SeriesInstanceUID="1.2.826.5.2")
    hidden = names(roe, poe)
    assert len(set(hidden)) == 2
    assert not any("oe" in name.lower() for name in hidden)


def test_slides_of_one_name_in_several_folders_have_their_folders_names(tmp_path: Path) -> None:
    for ward in ("ward_a", "ward_b"):
        fill(tmp_path / ward, "S01.svs", f"{ward}.tif")
    found = find_slides([tmp_path / "ward_a", tmp_path / "ward_b"])
    assert [slide.name for slide in found.slides] == [
        "ward_a-S01",
        "ward_a",
        "ward_b-S01",
        "ward_b",
    ]
    assert any("ward_a-S01, ward_b-S01" in sentence for sentence in found.ignored)
    for case in ("17", "23"):
        fill(tmp_path / case / "HE", "x.svs")
    deep = names(tmp_path / "17" / "HE", tmp_path / "23" / "HE")
    assert [name[:5] for name in deep] == ["HE-x-", "HE-x-"]
    assert len(set(deep)) == 2


def test_folders_of_folders_are_searched_where_that_is_wanted(tmp_path: Path) -> None:
    fill(tmp_path / "a", "one.svs", "note.txt")
    fill(tmp_path / "a" / "b" / "c", "two.svs")
    (tmp_path / "a" / "empty").mkdir()
    fill(tmp_path / "a" / "out", "manifest.json", "three.svs")
    (tmp_path / "a" / "b" / "round").symlink_to(tmp_path / "a", target_is_directory=True)
    assert names(tmp_path / "a") == ["one"]
    deep = find_slides([tmp_path / "a"], FindSpec(recursive=True))
    assert [slide.name for slide in deep.slides] == ["one", "two"]
    assert any("note.txt" in sentence for sentence in deep.ignored)


@pytest.mark.parametrize("pattern", ["label_*", "*/b/*", "label_one.svs"])
def test_what_is_excluded_is_left_out_and_counted(tmp_path: Path, pattern: str) -> None:
    fill(tmp_path / "a", "one.svs")
    fill(tmp_path / "a" / "b", "label_one.svs")
    found = find_slides([tmp_path / "a"], FindSpec(recursive=True, exclude=(pattern,)))
    assert [slide.name for slide in found.slides] == ["one"]
    assert "--exclude leaves out 1 slide." in found.ignored


def test_a_pattern_that_leaves_out_everything_or_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "one.tif").write_bytes(b"II*\0")
    with pytest.raises(UsageError, match="--exclude leaves out 1 slide"):
        find_slides([tmp_path], FindSpec(exclude=("*",)))
    found = find_slides([tmp_path], FindSpec(exclude=("two*", "three*")))
    assert "--exclude leaves out nothing: no slide is called two*, three*." in found.ignored


def test_a_pattern_that_no_shell_expanded_means_what_it_matches(tmp_path: Path) -> None:
    fill(tmp_path / "a", "one.svs", "two.svs", "three.tif", "odd[1].svs")
    fill(tmp_path / "a" / "deep", "four.svs")
    assert names(tmp_path / "a" / "t*.svs") == ["two"]
    assert names(tmp_path / "a" / "**" / "f*.svs") == ["four"]
    assert names(tmp_path / "a" / "odd[1].svs") == ["odd[1]"]
    with pytest.raises(UsageError, match="Nothing is called"):
        names(tmp_path / "a" / "*.ndpi")


def test_a_slide_that_is_named_twice_is_taken_once_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = fill(tmp_path / "ward", "a.svs", "b.svs") / "a.svs"
    monkeypatch.chdir(tmp_path)
    found = find_slides([slide, tmp_path / "ward", "./ward/../ward/a*.svs"])
    assert [(each.name, each.path) for each in found.slides] == [
        ("a", str(slide)),
        ("b", str(tmp_path / "ward" / "b.svs")),
    ]
    assert "a is named 3 times, and taken once." in found.ignored


def test_folders_of_outputs_are_passed_over_in_words(tmp_path: Path) -> None:
    fill(tmp_path, "a.svs")
    fill(tmp_path / "deep", "b.svs")
    fill(tmp_path / "out", "manifest.json", "c.svs")
    found = find_slides([tmp_path], FindSpec(recursive=True))
    assert [each.name for each in found.slides] == ["a", "b"]
    assert f"{tmp_path}: folders of outputs, not searched: out." in found.ignored
    (flat,) = [line for line in find_slides([tmp_path]).ignored if "not searched" in line]
    assert "deep" in flat
    assert "out" not in flat.removeprefix(str(tmp_path))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No slide was found"):
        names(tmp_path)


def test_a_path_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        names(tmp_path / "gone.svs")


@pytest.mark.shared_data
def test_files_of_one_dicom_series_are_one_slide(shared_data: Path) -> None:
    folder = shared_data / "slides"
    found = names(folder)
    assert found.count("dicom_7levels_wrong_colour") == 1
    assert {"camelyon_jpeg_coarse", "camelyon_jpeg2000_coarse", "dicom_volume_label_macro"} <= set(
        found
    )
    assert names(*sorted((folder / "dicom_7levels_wrong_colour").iterdir())[:1]) == [
        "level-0-frames-0-30"
    ]


@pytest.mark.parametrize("url", ["memory://", "memory://a/..", "s3://bucket/..\\..\\evil.svs"])
def test_a_url_whose_name_would_lead_out_of_the_output_folder_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="no name"):
        names(url)


def test_an_empty_text_is_not_the_current_folder() -> None:
    with pytest.raises(UsageError, match="empty text"):
        names("")


def test_a_link_is_called_what_the_user_calls_it(tmp_path: Path) -> None:
    fill(tmp_path, "content-1234.svs")
    (tmp_path / "slide.svs").symlink_to(tmp_path / "content-1234.svs")
    assert names(tmp_path / "slide.svs") == ["slide"]


def test_passwords_and_signatures_of_a_url_are_not_shown() -> None:
    (slide,) = find_slides(["https://user:secret@host/a/b.svs?X-Signature=1234"]).slides
    assert (slide.name, slide.shown) == ("b", "https://host/a/b.svs")


def test_a_series_is_one_slide_whatever_lies_beside_it_and_all_of_it_is_named(
    tmp_path: Path, write_volume: Any
) -> None:
    voxels = np.zeros((9, 8, 5), np.int16)
    series = write_volume.dicom(tmp_path / "SE1", voxels)
    fill(series, "readme.txt", "IM9999.dcm")
    found = find_slides([series])
    assert [slide.name for slide in found.slides] == ["SE1"]
    assert found.ignored == (f"{series}: not taken for slides: IM9999.dcm, readme.txt.",)
    with open_source(series) as source:
        lost, strange = source.facts.readings
    assert lost.startswith("1 file of its folder was a slice, as it seems")
    assert strange == "Files of the folder that are no DICOM are left out: 1."
    with open_source(series / "IM0003.dcm") as source:
        assert source.facts.readings == (lost,)
    fill(series, "photo.png")
    assert names(series) == ["IM0000", "IM9999", "photo"]
    (series / "photo.png").unlink()
    write_volume.dicom(series / "SE2", voxels, SeriesInstanceUID="1.2.826.78")
    assert names(series) == ["IM0000", "IM9999", "SE2"]


def test_series_that_begin_with_files_of_one_name_get_their_folders_names(
    tmp_path: Path, write_volume: Any
) -> None:
    voxels = np.zeros((9, 8, 3), np.int16)
    for patient in ("PAT1", "PAT2"):
        for number in (1, 2):
            kept = {"SeriesInstanceUID": f"1.2.826.{patient[3]}.{number}"}
            made = write_volume.dicom(tmp_path / patient / "made", voxels, **kept)
            for path in [*made.iterdir()]:
                path.rename(tmp_path / patient / f"{number}{path.name}")
            made.rmdir()
    assert names(tmp_path / "PAT1", tmp_path / "PAT2") == [
        "PAT1-1IM0000",
        "PAT1-2IM0000",
        "PAT2-1IM0000",
        "PAT2-2IM0000",
    ]


def test_a_file_that_is_called_by_its_identifier_is_named_after_its_content(
    tmp_path: Path, write_volume: Any
) -> None:
    series = write_volume.dicom(tmp_path / "a", np.zeros((9, 8, 3), np.int16))
    path = (series / "IM0000.dcm").rename(series / "1.2.826.77.1")
    (slide,) = find_slides([path]).slides
    assert slide.name.startswith("dicom-")
    assert "1.2.826" not in slide.shown
    (slide,) = find_slides([path], keep_identifiers=True).slides
    assert slide.name == "1.2.826.77.1"


def test_a_folder_without_slides_among_other_inputs_has_failed_and_is_not_forgotten(
    tmp_path: Path,
) -> None:
    fill(tmp_path, "a.svs")
    (tmp_path / "empty").mkdir()
    found = find_slides([tmp_path / "empty", tmp_path / "a.svs"])
    assert [slide.name for slide in found.slides] == ["empty", "a"]
    assert "No slide was found in this folder" in str(found.slides[0].error)
    with pytest.raises(UsageError, match="No slide was found"):
        names(tmp_path / "empty")


def test_a_series_that_several_of_its_files_name_is_taken_once(
    tmp_path: Path, write_volume: Any
) -> None:
    voxels = np.zeros((9, 8, 5), np.int16)
    one = write_volume.dicom(tmp_path / "SE1", voxels)
    other = write_volume.dicom(tmp_path / "SE2", voxels, SeriesInstanceUID="1.2.826.78")
    found = find_slides([*sorted(one.iterdir()), other, other / "IM0003.dcm"])
    assert [slide.name for slide in found.slides] == ["IM0000", "SE2"]
    assert found.ignored == (
        "IM0000 is named by 5 files of its series, and taken once.",
        "SE2 is named by 2 files of its series, and taken once.",
    )


def test_a_medium_gives_all_series_below_its_directory(tmp_path: Path, write_volume: Any) -> None:
    voxels = np.zeros((9, 8, 5), np.int16)
    for number in (1, 2):
        series = tmp_path / "DICOM" / "PA0" / f"SE{number}"
        write_volume.dicom(series, voxels, SeriesInstanceUID=f"1.2.826.7{number}")
    directory = dcmread(series / "IM0000.dcm", stop_before_pixels=True)
    directory.SOPClassUID = directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectory
    directory.save_as(tmp_path / "DICOMDIR")
    assert names(tmp_path) == ["SE1", "SE2"]
    assert names(tmp_path / "DICOMDIR") == ["SE1", "SE2"]


def test_what_is_called_a_slide_and_is_none_is_passed_over_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\x00" + bytes(64))
    (tmp_path / "b.svs").write_bytes(b"SQLite format 3\x00")
    (tmp_path / "c.png").write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3")
    (tmp_path / "d.jpg").write_bytes(b"PK\x03\x04" + bytes(64))
    found = find_slides([tmp_path])
    assert [slide.name for slide in found.slides] == ["a"]
    said = "b.svs is a database, c.png is a PDF, d.jpg is a ZIP archive"
    assert found.ignored == (f"{tmp_path}: 3 files passed over, no slide by its content: {said}.",)


@pytest.mark.parametrize(
    "content",
    [b"", bytes(64), b"\x93\xf1\x07\xaa" * 32, b"II*\x00", b"version https://git-lfs", b"<html>"],
)
def test_a_slide_that_was_lost_is_no_file_to_pass_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.svs").write_bytes(content)
    found = find_slides([tmp_path])
    assert [slide.name for slide in found.slides] == ["a"]
    assert found.ignored == ()


def test_a_file_that_is_named_is_a_slide_whatever_it_holds(tmp_path: Path) -> None:
    (tmp_path / "b.svs").write_bytes(b"%PDF-1.7")
    assert [slide.name for slide in find_slides([tmp_path / "b.svs"]).slides] == ["b"]
