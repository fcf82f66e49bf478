"""tiles.parquet says what tiles.csv and tiles.geojson say, read by other programs' means."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import shapely
from pyarrow import parquet

from slidecam.classes import ClassSet
from slidecam.exchange import geoparquet
from slidecam.exchange.geojson import write_tiles_geojson
from slidecam.exchange.geoparquet import write_tiles_parquet
from slidecam.exchange.tables import write_tiles_csv
from slidecam.geometry import Box
from slidecam.runs.tiles import TileTable
from slidecam.store import Status
from tile_tables import COLORS, read_tiles_csv

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BOUNDS = Box(1037, 411, 90_001, 70_003)


def of(boxes: NDArray[np.int64], status: NDArray[np.uint8], bounds: Box | None) -> TileTable:
    rng = np.random.default_rng(3)
    values = rng.dirichlet((1, 1, 1), len(boxes)).astype(np.float32)
    values[status != Status.DONE] = np.nan
    classes = ClassSet(names=("Tumor", "Fat, brown", "Größe: x"), colors=COLORS[:3])
    return TileTable(boxes, status, values.reshape(-1, 3), classes, bounds)


def some_tiles(count: int = 13) -> TileTable:
    rng = np.random.default_rng(7)
    boxes = rng.integers(2_000, 60_000, (count, 4))
    boxes[:, 2:] = rng.integers(151, 977, (count, 2))
    status = np.array([Status.DONE, Status.FAILED, Status.DONE, Status.PENDING] * count, np.uint8)
    return of(boxes, status[:count], BOUNDS)


def written(table: TileTable, folder: Path) -> pa.Table:
    write_tiles_parquet(table, folder / "tiles.parquet")
    return parquet.read_table(folder / "tiles.parquet")


def features(table: TileTable, folder: Path) -> list[dict[str, Any]]:
    write_tiles_geojson(table, folder / "tiles.geojson")
    found: list[dict[str, Any]] = json.loads((folder / "tiles.geojson").read_text())["features"]
    return found


def test_finished_tiles_are_those_of_the_csv(tmp_path: Path) -> None:
    table = some_tiles()
    write_tiles_csv(table, tmp_path / "tiles.csv")
    expected = read_tiles_csv(tmp_path / "tiles.csv")
    read = written(table, tmp_path).to_pydict()
    done = [place for place, status in enumerate(read["status"]) if status == "done"]
    sides = np.array([read[name] for name in ("minx", "miny", "width", "height")]).T
    np.testing.assert_array_equal(sides[done], expected.boxes)
    for index, name in enumerate(expected.class_names):
        values = np.array(read[f"prob_{name}"], dtype=object)
        np.testing.assert_array_equal(
            values[done].astype(np.float32), expected.probabilities[:, index]
        )
        assert {values[place] for place in range(len(values)) if place not in done} == {None}


def test_outlines_and_classes_are_those_of_the_geojson(tmp_path: Path) -> None:
    table = some_tiles()
    read = written(table, tmp_path).to_pydict()
    done = [place for place, status in enumerate(read["status"]) if status == "done"]
    expected = features(table, tmp_path)
    assert len(expected) == len(done) == 7
    for place, feature in zip(done, expected, strict=True):
        outline = shapely.from_wkb(read["geometry"][place])
        drawn = [list(corner) for corner in outline.exterior.coords]
        assert drawn == feature["geometry"]["coordinates"][0]
        class_name = feature["properties"].get("classification", {}).get("name")
        assert read["classification"][place] == class_name


def test_every_tile_stands_with_what_became_of_it(tmp_path: Path) -> None:
    read = written(some_tiles(), tmp_path)
    assert read["status"].to_pylist() == [
        *("done", "failed", "done", "pending") * 3,
        "done",
    ]
    assert read["classification"].to_pylist()[1] is None


def test_the_metadata_are_geoparquets(tmp_path: Path) -> None:
    table = some_tiles()
    read = written(table, tmp_path)
    geo = json.loads(read.schema.metadata[b"geo"])
    assert (geo["version"], geo["primary_column"]) == ("1.1.0", "geometry")
    column = geo["columns"]["geometry"]
    outlines = shapely.from_wkb(read["geometry"].to_pylist())
    assert column.pop("bbox") == list(shapely.total_bounds(outlines))
    assert column == {
        "encoding": "WKB",
        "geometry_types": ["Polygon"],
        "crs": None,
        "edges": "planar",
        "orientation": "counterclockwise",
    }
    assert all(shapely.is_ccw(one.exterior) for one in outlines)
    assert {shapely.get_type_id(one) for one in outlines} == {shapely.GeometryType.POLYGON}


def test_rows_are_written_group_by_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = written(some_tiles(), tmp_path)
    monkeypatch.setattr(geoparquet, "ROWS_PER_GROUP", 5)
    assert written(some_tiles(), tmp_path).equals(whole)
    sizes = [
        parquet.ParquetFile(tmp_path / "tiles.parquet").metadata.row_group(group).num_rows
        for group in range(3)
    ]
    assert sizes == [5, 5, 3]


def test_a_slide_without_tiles_has_a_table_without_rows(tmp_path: Path) -> None:
    read = written(of(np.zeros((0, 4), np.int64), np.zeros(0, np.uint8), None), tmp_path)
    assert read.num_rows == 0
    assert read.column_names[-3:] == ["status", "classification", "geometry"]
    geo = json.loads(read.schema.metadata[b"geo"])
    assert geo["columns"]["geometry"]["geometry_types"] == []


def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_anything: object) -> None:
        raise MemoryError

    monkeypatch.setattr(geoparquet, "_piece", broken)
    with pytest.raises(MemoryError):
        write_tiles_parquet(some_tiles(), tmp_path / "tiles.parquet")
    assert list(tmp_path.iterdir()) == []
