"""A cohort as a table, as spreadsheets leave it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slidecam.errors import SpacingError, UsageError
from slidecam.sources.slide_list import ListedSlide, read_slide_list

if TYPE_CHECKING:
    from pathlib import Path


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("path,name,mpp,mask,group\na.tif,A 1,0.37,,p7\n", "utf-8"),
        ("Path;Name;MPP;Mask;Group\r\na.tif;A 1;0,37;;p7\r\n;;;;\r\n", "utf-8-sig"),
        ("sep=;\nPATH;NAME;MPP;MASK;GROUP\n a.tif ; A 1 ;0,37;;p7\n", "utf-8-sig"),
        ("path\tname\tmpp\tmask\tgroup\na.tif\tA 1\t0.37\t\tp7\n", "utf-8"),
        ('"sep=\t"\npath\tname\tmpp\tgroup\na.tif\tA 1\t0,37\tp7\n\n\n', "utf-8"),
    ],
)
def test_every_spreadsheet_says_the_same(tmp_path: Path, text: str, encoding: str) -> None:
    (row,) = read_slide_list(written(tmp_path / "list.csv", text, encoding)).rows
    assert (row.path, row.name, row.mpp, row.group) == (str(tmp_path / "a.tif"), "A 1", 0.37, "p7")
    assert row.mask is None


def test_paths_count_from_the_tables_folder_and_are_taken_as_windows_writes_them(
    tmp_path: Path,
) -> None:
    (tmp_path / "ward" / "masks").mkdir(parents=True)
    (tmp_path / "ward" / "s.tif").touch()
    (tmp_path / "ward" / "masks" / "s.png").touch()
    table = written(
        tmp_path / "list.csv",
        "path,mask\nward\\s.tif,ward\\masks\\s.png\ns3://bucket/b.tif,\n",
    )
    first, second = read_slide_list(table).rows
    assert first == ListedSlide(2, str(tmp_path / "ward/s.tif"), mask=tmp_path / "ward/masks/s.png")
    assert second.path == "s3://bucket/b.tif"


def test_columns_that_are_not_read_are_said(tmp_path: Path) -> None:
    table = written(tmp_path / "list.csv", "path,stain,ward\na.tif,HE,7\n")
    assert read_slide_list(table).ignored == (f"{table}: columns that are not read: stain, ward.",)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("slide,mpp\na.tif,0.5\n", "The column path is missing"),
        ("path,name\n", "names no slide"),
        ("path,name\n,A\n", "Line 2 names no slide"),
        ("path\na.tif\n\na.tif\n", "Line 4 names the slide of line 2 again"),
        ("path,name\na.tif,x/y\n", "no folder of outputs can be called 'x/y'"),
        ("path,mask\na.tif,gone.png\n", "Line 2 names a mask that is not there"),
    ],
)
def test_a_table_that_cannot_be_followed_is_refused(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        read_slide_list(written(tmp_path / "list.csv", text))


def test_a_slide_that_is_not_there_is_refused_by_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.tif").touch()
    text = "path\na.tif\n*.ndpi\ns3://bucket/b.tif\n\ngone.tif\n"
    rows = read_slide_list(written(tmp_path / "list.csv", text))
    with pytest.raises(UsageError, match=r"Line 6 .* not there"):
        rows.refuse_missing()


def test_a_spacing_that_is_none_is_refused_by_its_line(tmp_path: Path) -> None:
    table = written(tmp_path / "list.csv", "path;mpp\na.tif;0,25\nb.tif;250\n")
    with pytest.raises(SpacingError, match="Line 3 says mpp '250'"):
        read_slide_list(table)
