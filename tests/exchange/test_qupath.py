"""What our QuPath scripts load.

The table, the heatmaps' places, and what a finished run is exported to.
"""

from __future__ import annotations

import csv
import gzip
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from slidecam.errors import ShownSizeError, StoreError, UsageError
from slidecam.exchange import qupath
from slidecam.exchange.ome_zarr import RasterSpec, write_heatmap_ome_zarr
from slidecam.exchange.qupath import (
    QuPathExport,
    export_for_qupath,
    write_for_qupath,
    write_tiles_table,
)
from slidecam.geometry import Box, Size
from slidecam.store import RunStore, StorePlan, TileResults, write_run

if TYPE_CHECKING:
    from pathlib import Path

    from tile_tables import TableMaker

NAN = float("nan")


def rows_of(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_counts_from_the_corner_that_qupath_shows(
    make_table: TableMaker, tmp_path: Path
) -> None:
    table = make_table(
        [[0.25, 0.75], [NAN, 0.5]], bounds=Box(30, 20, 900, 900), class_names=('a "b", c', "Größe")
    )
    write_tiles_table(table, tmp_path / "t.csv.gz")
    first, second = rows_of(tmp_path / "t.csv.gz")
    assert first == {
        "x": "-30", "y": "30", "width": "100", "height": "80", "class": "Größe",
        'prob_a "b", c': "0.25", "prob_Größe": "0.75",
    }  # fmt: skip
    assert (second["class"], second['prob_a "b", c'], second["prob_Größe"]) == ("", "", "0.5")


def test_probabilities_come_back_as_the_same_float32(
    make_table: TableMaker, tmp_path: Path
) -> None:
    values = np.random.default_rng(1).random((50, 2)).astype(np.float32)
    write_tiles_table(make_table(values.tolist()), tmp_path / "t.csv.gz")
    read = [[row["prob_Tumor"], row["prob_Stroma"]] for row in rows_of(tmp_path / "t.csv.gz")]
    np.testing.assert_array_equal(np.array(read, np.float32), values)


def test_the_same_tiles_make_the_same_bytes(make_table: TableMaker, tmp_path: Path) -> None:
    for name in ("a.csv.gz", "b.csv.gz"):
        write_tiles_table(make_table([[0.1, 0.9]]), tmp_path / name)
    assert (tmp_path / "a.csv.gz").read_bytes() == (tmp_path / "b.csv.gz").read_bytes()


def write_heat(path: Path, heat: list[list[float]], **changes: Any) -> Path:
    values = np.array([heat], np.float32)
    size = Size(values.shape[2], values.shape[1])
    spec = RasterSpec(
        "s", ("A",), ((9, 9, 9),), size, 16, None, attributes={"method": "cam"}, **changes
    )
    write_heatmap_ome_zarr(path, [values], spec)
    return path


def test_a_heatmap_is_cut_to_its_numbers_and_lies_at_their_outer_edges(
    make_table: TableMaker, tmp_path: Path
) -> None:
    heat = write_heat(
        tmp_path / "h.zarr", [[NAN, NAN, NAN, NAN], [NAN, 0.0, NAN, NAN], [NAN, NAN, 1.0, NAN]]
    )
    index = write_for_qupath(
        QuPathExport(make_table([[1.0]], bounds=Box(10, 4, 900, 900)), [heat]), tmp_path / "q"
    )
    (written,) = index["heatmaps"]
    bar = written.pop("bar")
    assert written == {
        "file": "heatmap-1.png", "method": "cam", "class": "A", "signed": False,
        "shows": "", "measured": "", "x": 16 - 10, "y": 16 - 4, "width": 32, "height": 32,
    }  # fmt: skip
    with Image.open(tmp_path / "q" / "heatmap-1.png") as picture:
        pixels = np.asarray(picture)
    alpha = pixels[:, :, 3]
    assert (alpha > 0).tolist() == [[True, False], [False, True]]
    assert alpha[0, 0] < alpha[1, 1]
    assert [bar[0], bar[-1]] == [f"#{pixels[at][:3].tobytes().hex()}" for at in ((0, 0), (1, 1))]


@pytest.mark.parametrize(("longest", "size"), [(300, (150, 2)), (200, (75, 1))])
def test_a_large_heatmap_is_taken_from_a_coarser_level_without_moving(
    make_table: TableMaker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    longest: int,
    size: tuple[int, int],
) -> None:
    monkeypatch.setattr(qupath, "LONGEST", longest)
    heat = np.full((12, 600), NAN)
    heat[4:8, 100:400] = 0.5
    path = write_heat(tmp_path / "h.zarr", heat.tolist())
    (written,) = write_for_qupath(QuPathExport(make_table([[1.0]]), [path]), tmp_path / "q")[
        "heatmaps"
    ]
    assert [written[side] for side in ("x", "y", "width", "height")] == [1600, 64, 4800, 64]
    with Image.open(tmp_path / "q" / "heatmap-1.png") as picture:
        assert picture.size == size


def test_a_heatmap_without_a_number_is_left_out(make_table: TableMaker, tmp_path: Path) -> None:
    heat = write_heat(tmp_path / "h.zarr", [[NAN, NAN]])
    assert (
        write_for_qupath(QuPathExport(make_table([[1.0]]), [heat]), tmp_path / "q")["heatmaps"]
        == []
    )


def make_run(folder: Path, **changes: Any) -> Path:
    """Write a run of two tiles as `predict` leaves it."""
    boxes = np.array([(100, 60, 64, 64), (164, 60, 64, 64)], np.int64)
    store = RunStore.create(folder, StorePlan(boxes, [np.array([0, 1])], 64, 2, None))
    values = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    store.commit(0, TileResults(values, values, None, {}))
    colors = [[1, 2, 3], [4, 5, 6]]
    record = {
        "input": {"path": "a.mrxs", "size_px": [700, 500], "bounds_px": [100, 60, 500, 400]},
        "bundle": {
            "name": "a model",
            "activation": "softmax",
            "class_names": ["A", "B"],
            "class_colors": colors,
        },
        "qupath": {"corner_px": [100, 60], "size_px": None},
        "heatmaps": [],
    }
    write_run(folder, record | changes)
    return folder


def test_a_finished_run_is_exported_without_slide_and_model(tmp_path: Path) -> None:
    make_run(tmp_path / "out" / "a")
    (written,) = export_for_qupath(tmp_path / "out")
    assert (written["slide"], written["model"], written["tiles"]["count"]) == ("a", "a model", 2)
    folder = tmp_path / "out" / "a" / "qupath"
    assert written["folder"] == str(folder)
    assert [(row["x"], row["y"], row["class"]) for row in rows_of(folder / "tiles.csv.gz")] == [
        ("0", "0", "B"),
        ("64", "0", "A"),
    ]
    with gzip.open(folder / "tiles.geojson.gz", "rt") as file:
        assert json.load(file)["features"][0]["geometry"]["coordinates"][0][0] == [0, 0]


@pytest.mark.parametrize(("shown", "x"), [(Size(700, 500), "100"), (Size(500, 400), "0")])
def test_the_size_that_qupath_shows_says_where_it_counts_from(
    tmp_path: Path, shown: Size, x: str
) -> None:
    make_run(tmp_path / "a")
    (written,) = export_for_qupath(tmp_path / "a", tmp_path / "for qupath", shown, "csv")
    assert written["size_px"] == [shown.width, shown.height]
    folder = tmp_path / "for qupath" / "a"
    assert rows_of(folder / "tiles.csv.gz")[0]["x"] == x
    assert not (folder / "tiles.geojson.gz").exists()


@pytest.mark.parametrize("out", [".", "a", "link"])
def test_an_export_never_takes_the_place_of_a_run(tmp_path: Path, out: str) -> None:
    folder = make_run(tmp_path / "results" / "a")
    (tmp_path / "results" / "link").symlink_to(tmp_path / "results")
    before = sorted(path.name for path in folder.rglob("*"))
    with pytest.raises(UsageError, match=r"take its place") as refused:
        list(export_for_qupath(folder, tmp_path / "results" / out))
    assert "Pass another --out" in refused.value.remedy
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_an_export_takes_no_place_but_that_of_an_earlier_one(tmp_path: Path) -> None:
    folder, slides = make_run(tmp_path / "results" / "a"), tmp_path / "slides"
    (slides / "a").mkdir(parents=True)
    (slides / "a" / "Slidedat.ini").write_text("[GENERAL]")
    with pytest.raises(UsageError, match="another kind of file"):
        list(export_for_qupath(folder, slides))
    assert (slides / "a" / "Slidedat.ini").read_text() == "[GENERAL]"
    for _again in range(2):
        (written,) = export_for_qupath(folder, tmp_path / "for qupath")
        assert written["slide"] == "a"


def test_another_size_another_version_and_no_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShownSizeError):
        list(export_for_qupath(make_run(tmp_path / "a"), shown=Size(9, 9)))
    with pytest.raises(StoreError, match="class_names"):
        list(export_for_qupath(make_run(tmp_path / "b", bundle={"name": "a model"})))
    with pytest.raises(UsageError, match="no run"):
        list(export_for_qupath(tmp_path / "nowhere"))


def test_beyond_what_qupaths_import_bears_only_the_table_is_written(
    make_table: TableMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qupath, "GEOJSON_UP_TO", 2)
    for count, name in ((2, "tiles.geojson.gz"), (3, None)):
        export = QuPathExport(make_table([[0.1, 0.9]] * count), tiles="auto")
        assert write_for_qupath(export, tmp_path / str(count))["tiles"]["geojson"] == name


def test_a_tile_of_several_classes_has_their_numbers_behind_its_probabilities(
    make_table: TableMaker, tmp_path: Path
) -> None:
    rows = [[0.37, 0.61, 0.83], [0.91, 0.13, 0.07], [0.11, 0.23, 0.31]]
    table = make_table(rows, activation="sigmoid", thresholds=(0.36, 0.7, 0.5))
    index = write_for_qupath(QuPathExport(table), tmp_path / "qupath")
    found = rows_of(tmp_path / "qupath" / "tiles.csv.gz")
    assert [row["called"] for row in found] == ["2+0", "", ""]
    assert [row["class"] for row in found] == ["Fat", "Tumor", ""]
    assert (index["version"], index["tiles"]["called"]) == (2, True)
    plain = write_for_qupath(QuPathExport(make_table(rows)), tmp_path / "plain")
    assert (plain["version"], "called" in plain["tiles"]) == (1, False)
