"""`tiles.csv` is what WSInfer would have written."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.exchange import tables
from slidecam.exchange.manifest import SlideReport, TileCounts
from slidecam.exchange.tables import (
    slide_rows,
    write_slides_csv,
    write_tiles_csv,
)
from slidecam.runs.legend import ClassifiedTissue, ClassSummary
from tile_tables import read_tiles_csv

if TYPE_CHECKING:
    from pathlib import Path

    from tile_tables import TableMaker


def test_the_file_is_exactly_wsinfers_layout(make_table: TableMaker, tmp_path: Path) -> None:
    write_tiles_csv(make_table([[0.25, 0.75], [1.0, 0.0]]), tmp_path / "tiles.csv")
    assert (tmp_path / "tiles.csv").read_bytes() == (
        b"minx,miny,width,height,prob_Tumor,prob_Stroma\n0,50,100,80,0.25,0.75\n100,50,100,80,1.0,0.0\n"
    )


def test_only_finished_tiles_are_written_in_grid_order(
    make_table: TableMaker, tmp_path: Path
) -> None:
    table = make_table(
        [[i / 10, 1 - i / 10] for i in range(5)], status=np.array([1, 2, 1, 0, 1], np.uint8)
    )
    write_tiles_csv(table, tmp_path / "tiles.csv")
    assert read_tiles_csv(tmp_path / "tiles.csv").boxes[:, 0].tolist() == [0, 200, 400]


def test_probabilities_come_back_as_the_same_float32(
    make_table: TableMaker, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    values = np.concatenate(
        [random.random(3000), 10.0 ** random.uniform(-44, 0, 3000), [0, 1, 1e-45]]
    )
    table = make_table([[value] for value in values.astype(np.float32)])
    write_tiles_csv(table, tmp_path / "tiles.csv")
    assert np.array_equal(read_tiles_csv(tmp_path / "tiles.csv").probabilities, table.probabilities)


def test_it_opens_as_wsinfers_readers_open_it(make_table: TableMaker, tmp_path: Path) -> None:
    write_tiles_csv(make_table([[0.1, 0.9], [0.6, 0.4]]), tmp_path / "tiles.csv")
    with (tmp_path / "tiles.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["minx"]) for row in rows] == [0, 100]
    probabilities = [column for column in rows[0] if column.startswith("prob_")]
    assert probabilities == ["prob_Tumor", "prob_Stroma"]
    assert sum(float(rows[0][column]) for column in probabilities) == pytest.approx(1)
    table = np.genfromtxt(tmp_path / "tiles.csv", delimiter=",", names=True, dtype=None)
    assert table["width"].dtype.kind == "i"
    assert table["prob_Stroma"].tolist() == [0.9, 0.4]


@pytest.mark.parametrize(
    "names", [("a,b", 'say "b"'), ("Größe", "腫瘍"), ("two\nlines", " spaced ")]
)
def test_any_class_name_comes_back(
    names: tuple[str, str], make_table: TableMaker, tmp_path: Path
) -> None:
    write_tiles_csv(make_table([[0.1, 0.9]], class_names=names), tmp_path / "tiles.csv")
    assert read_tiles_csv(tmp_path / "tiles.csv").class_names == names


def test_a_slide_without_tiles_is_a_header(make_table: TableMaker, tmp_path: Path) -> None:
    table = make_table([[0.1, 0.9]], status=np.array([2], np.uint8))
    write_tiles_csv(table, tmp_path / "tiles.csv")
    back = read_tiles_csv(tmp_path / "tiles.csv")
    assert back.boxes.shape == (0, 4)
    assert back.probabilities.shape == (0, 2)


def test_a_finished_tile_without_a_number_stays_not_a_number(
    make_table: TableMaker, tmp_path: Path
) -> None:
    write_tiles_csv(make_table([[float("nan"), 0.5]]), tmp_path / "tiles.csv")
    assert np.isnan(read_tiles_csv(tmp_path / "tiles.csv").probabilities[0]).tolist() == [
        True,
        False,
    ]


def test_pieces_join_without_a_gap(
    make_table: TableMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = make_table([[i / 100] for i in range(23)])
    monkeypatch.setattr(tables, "VALUES_AT_ONCE", 20)
    assert [len(rows) for rows in tables.pieces(table)] == [4, 4, 4, 4, 4, 3]
    write_tiles_csv(table, tmp_path / "tiles.csv")
    assert np.array_equal(read_tiles_csv(tmp_path / "tiles.csv").boxes, table.boxes)


def a_slide(name: str, areas: tuple[float, ...], **changes: Any) -> SlideReport:
    """Return a slide whose first class is called 'tumor, left', with areas in µm²."""
    names, whole = ("tumor, left", "stroma"), sum(areas)
    rows = [
        ClassSummary(label, (1, 2, 3), 5, area / whole, 0.31, area=area, top_probability=0.875)
        for label, area in zip(names, areas, strict=False)
    ]
    plain: dict[str, Any] = {
        "tiles": TileCounts(41, 2, 7),
        "classes": tuple(rows),
        "tissue": ClassifiedTissue("µm²", 3_250_000.0, whole, undecided=whole / 16),
        "facts": {"spacing": {"um_px": [0.25, 0.5], "from": "file"}, "input": {"fingerprint": "f"}},
        "seconds": 12.375,
        "warnings": ("Pale; thin.",),
        "bundle": "pocket",
    }
    return SlideReport(name, f"/data/{name}.svs", "done", **(plain | changes))


def test_a_row_of_the_cohort_says_how_much_of_each_class_a_slide_has(tmp_path: Path) -> None:
    failed = SlideReport("b", "b.svs", "failed", reason="damaged.", remedy="Copy it.")
    write_slides_csv(
        slide_rows([a_slide("a", (1_300_000.0, 700_000.0)), failed]), tmp_path / "slides.csv"
    )
    with (tmp_path / "slides.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert (first["slide"], first["status"], first["um_px_y"]) == ("a", "done", "0.5")
    assert float(first["tissue_mm2"]) == 3.25
    assert (float(first["mm2 tumor, left"]), float(first["share tumor, left"])) == (1.3, 0.65)
    assert (float(first["mean stroma"]), float(first["top10 stroma"])) == (0.31, 0.875)
    assert float(first["share undecided"]) == 0.0625
    assert (first["tiles"], first["tiles_failed"], first["seconds"]) == ("41", "2", "12.375")
    assert (first["share_of"], first["warnings"]) == ("classified tissue", "Pale; thin.")
    assert (second["status"], second["share stroma"], second["remedy"]) == (
        "failed",
        "",
        "Copy it.",
    )


def test_a_slide_without_a_spacing_has_shares_and_no_areas() -> None:
    tissue = ClassifiedTissue("px²", None, 200.0)
    (row,) = slide_rows([a_slide("a", (130.0, 70.0), tissue=tissue, facts={})])
    assert (row["mm2 stroma"], row["classified_mm2"], row["share stroma"]) == (None, None, 0.35)


def test_shares_that_an_older_slidecam_wrote_are_called_what_they_are() -> None:
    (row,) = slide_rows([a_slide("a", (13.0, 7.0), tissue=None)])
    assert "older slidecam" in str(row["share_of"])


def test_a_table_for_spreadsheets_has_semicolons_and_decimal_commas(tmp_path: Path) -> None:
    path = tmp_path / "slides.csv"
    write_slides_csv(slide_rows([a_slide("=1+1", (13.0, 7.0))]), path, "semicolon")
    text = path.read_bytes()
    assert text.startswith(b"\xef\xbb\xbfslide;status;")
    row = text.decode("utf-8-sig").splitlines()[1]
    assert row.startswith("'=1+1;done;")
    assert ";0,65;" in row
