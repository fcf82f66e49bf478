"""Annotated slides become tiles to learn from.

The right ones, of the right class, as predict would see them.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from shapely import box
from shapely.geometry import shape

from slidecam.errors import DataSetError, MaskError, UsageError
from slidecam.foreground import LabelRule
from slidecam.geometry import Box, LevelBox
from slidecam.learning.data.pictures import read_picture_set
from slidecam.learning.data.pixels import load_pixels
from slidecam.models import open_bundle
from slidecam.prediction.model import load_model
from slidecam.prediction.preparation import prepare
from slidecam.runs.spec import PredictSpec
from slidecam.steps import result_of
from slidecam.streaming import StreamSpec, stream_tiles
from slidecam.tile_sets import TileSetSpec, safe_name, write_tile_set, writing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from conftest import MakeSource
    from slidecam.tile_sets import TileSet

SMALL = TileSetSpec(tile_px=64, spacing=0.5, min_tissue=0)


def corners(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]]


def drawn(path: Path, areas: Mapping[str, tuple[int, int, int, int]]) -> Path:
    """Write rectangles (left, top, right, bottom) of classes as QuPath would."""
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [corners(*sides)]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": name, "color": [1, 2, 3]},
            },
        }
        for name, sides in areas.items()
    ]
    path.write_text(
        json.dumps({"type": "FeatureCollection", "features": features}), encoding="utf-8"
    )
    return path


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "pictures.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def sample_tiles(sample_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TileSet:
    out = tmp_path_factory.mktemp("tiles") / "set"
    spec = TileSetSpec(tile_px=128, spacing=0.5)
    return result_of(
        write_tile_set([sample_data / "slide.tif"], sample_data / "annotations.geojson", out, spec)
    )


def test_labels_are_those_of_exact_geometry(sample_tiles: TileSet, sample_data: Path) -> None:
    features = json.loads((sample_data / "annotations.geojson").read_text(encoding="utf-8"))[
        "features"
    ]
    areas = [
        (each["properties"]["classification"]["name"], shape(each["geometry"])) for each in features
    ]
    rows = rows_of(sample_tiles.folder)
    assert len(rows) == sum(sample_tiles.tiles.values()) > 300
    for row in rows:
        x, y, width, height = (int(row[key]) for key in ("x", "y", "width", "height"))
        assert (width, height) == (128, 128)
        shares = dict.fromkeys(sample_tiles.tiles, 0.0)
        for name, area in areas:
            shares[name] += area.intersection(box(x, y, x + 128, y + 128)).area / 128**2
        own = shares.pop(row["label"])
        assert own > 0.49
        assert max(shares.values()) < 0.21


def test_nothing_that_belongs_to_one_class_is_left_out(
    sample_tiles: TileSet, sample_data: Path
) -> None:
    features = json.loads((sample_data / "annotations.geojson").read_text(encoding="utf-8"))[
        "features"
    ]
    taken = {(int(row["x"]), int(row["y"])) for row in rows_of(sample_tiles.folder)}
    areas = [shape(each["geometry"]) for each in features]
    for x in range(0, 4096, 128):
        for y in range(0, 4096, 128):
            tile = box(x, y, x + 128, y + 128)
            if any(area.contains(tile) for area in areas):
                assert (x, y) in taken


def test_pixels_are_the_slides(sample_tiles: TileSet, sample_data: Path) -> None:
    level = tifffile.imread(sample_data / "slide.tif", level=0)
    for row in rows_of(sample_tiles.folder)[::40]:
        x, y = int(row["x"]), int(row["y"])
        assert row["path"] == f"{row['label']}/slide_x{x}_y{y}.png"
        written = np.asarray(Image.open(sample_tiles.folder / row["path"]), np.int16)
        # Two JPEG decoders may differ by a step or two.
        assert np.abs(written - level[y : y + 128, x : x + 128]).max() <= 3


def test_the_set_is_one_to_train_on(sample_tiles: TileSet) -> None:
    pictures = read_picture_set(sample_tiles.folder)
    assert pictures.class_names == ("lymphoid", "stroma", "tumour")
    assert pictures.counts() == sample_tiles.tiles
    assert pictures.groups is not None
    assert set(pictures.groups) == {"slide"}
    assert sample_tiles.is_whole


def test_the_record_says_how_it_was_made(sample_tiles: TileSet) -> None:
    record = json.loads((sample_tiles.folder / "tile_set.json").read_text(encoding="utf-8"))
    assert record["spec"]["tile_px"] == 128
    (slide,) = record["slides"]
    assert slide["tiles"] == sample_tiles.tiles
    assert slide["facts"]["um_px"] == [0.5, 0.5]
    assert len(slide["facts"]["annotations_sha256"]) == 64
    assert slide["ambiguous"] > 0
    assert slide["unannotated"] > 0


def test_tiles_like_a_bundles_are_what_predict_sees(
    tmp_path: Path, tiny_bundle: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    spec = TileSetSpec(mpp=0.4).like(open_bundle(tiny_bundle).card)
    areas = {"left": (0, 0, 300, 500), "right": (400, 0, 700, 300)}
    made = result_of(
        write_tile_set([slide], drawn(tmp_path / "a.geojson", areas), tmp_path / "out", spec)
    )
    plan = PredictSpec(dry_run=True, mpp=0.4, heatmap="none")
    ready = prepare(str(slide), tmp_path / "none", load_model(tiny_bundle, plan), plan)
    seen: dict[tuple[int, ...], NDArray[np.uint8]] = {}
    for batch in stream_tiles(ready.source, ready.grid, StreamSpec(7)):
        seen |= {
            tuple(ready.grid.boxes[row]): pixels
            for row, pixels in zip(batch.rows, batch.pixels, strict=True)
        }
    ready.close()
    rows = rows_of(made.folder)
    assert 20 < len(rows) < len(seen)
    for row in rows:
        place = tuple(int(row[key]) for key in ("x", "y", "width", "height"))
        assert place[2:] == (80, 80)
        np.testing.assert_array_equal(load_pixels(made.folder / row["path"], 64), seen[place])


def test_the_written_edge_is_resized_to_once(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    spec = TileSetSpec(tile_px=64, spacing=0.5, input_px=48, min_tissue=0, interpolation="bicubic")
    result_of(
        write_tile_set(
            [slide], drawn(tmp_path / "a.json", {"A": (64, 64, 128, 128)}), tmp_path / "out", spec
        )
    )
    level = Image.fromarray(tifffile.imread(slide, level=0)[64:128, 64:128])
    written = np.asarray(Image.open(tmp_path / "out" / "A" / "a_x64_y64.png"))
    np.testing.assert_array_equal(
        written, np.asarray(level.resize((48, 48), Image.Resampling.BICUBIC))
    )


def test_ambiguous_and_unannotated_tiles_are_counted(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif", 256, 128)
    areas = {"A": (0, 0, 96, 128), "B": (96, 0, 192, 64), "Ignore*": (128, 64, 192, 128)}
    made = result_of(
        write_tile_set([slide], drawn(tmp_path / "a.json", areas), tmp_path / "out", SMALL)
    )
    # Of eight tiles the two of the first column are A, one is half A and half B, below it one is
    # half A.
    (result,) = made.slides
    assert result.tiles == {"A": 3, "B": 1}
    assert result.ambiguous == 1
    assert result.unannotated == 3
    assert result.notes == ("a.json: the class Ignore* is left out, as in QuPath.",)


def test_without_tissue_no_tile_is_learnt_unless_asked_for(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    annotations = drawn(tmp_path / "a.json", {"A": (0, 0, 700, 500)})
    strict, lenient = (
        result_of(
            write_tile_set(
                [slide],
                annotations,
                tmp_path / str(share),
                TileSetSpec(tile_px=64, min_tissue=share),
            )
        )
        for share in (0.5, 0.0)
    )
    assert {(int(row["x"]), int(row["y"])) for row in rows_of(strict.folder)} < {
        (int(row["x"]), int(row["y"])) for row in rows_of(lenient.folder)
    }
    assert any(row["x"] == row["y"] == "0" for row in rows_of(lenient.folder))
    assert not any(row["x"] == row["y"] == "0" for row in rows_of(strict.folder))


def test_overlap_gives_more_tiles(tmp_path: Path, write_slide: Callable[..., Path]) -> None:
    slide = write_slide(tmp_path / "a.tif", 256, 128)
    annotations = drawn(tmp_path / "a.json", {"A": (0, 0, 256, 128)})
    spec = TileSetSpec(tile_px=64, overlap=0.5, min_tissue=0, edge="drop")
    assert result_of(write_tile_set([slide], annotations, tmp_path / "out", spec)).tiles == {
        "A": 7 * 3
    }


def test_qupaths_corner_of_the_scanned_bounds_is_heeded(
    tmp_path: Path,
    array_source: MakeSource,
    noise: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = noise(400, 400)
    source = array_source(pixels, bounds=Box(100, 200, 200, 100))
    monkeypatch.setattr(writing, "open_apart", lambda *_arguments: source)
    (tmp_path / "memory.tif").touch()
    annotations = drawn(tmp_path / "a.json", {"A": (0, 0, 64, 64)})
    made = result_of(
        write_tile_set([tmp_path / "memory.tif"], annotations, tmp_path / "out", SMALL)
    )
    (row,) = rows_of(made.folder)
    assert (row["x"], row["y"]) == ("100", "200")
    written = np.asarray(Image.open(made.folder / row["path"]))
    np.testing.assert_array_equal(written, pixels[200:264, 100:164])


def test_a_tile_that_cannot_be_read_is_told_and_not_listed(
    tmp_path: Path,
    array_source: MakeSource,
    noise: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = array_source(noise(256, 128), broken=LevelBox(70, 10, 5, 5))
    monkeypatch.setattr(writing, "open_apart", lambda *_arguments: source)
    (tmp_path / "memory.tif").touch()
    annotations = drawn(tmp_path / "a.json", {"A": (0, 0, 256, 128)})
    made = result_of(
        write_tile_set([tmp_path / "memory.tif"], annotations, tmp_path / "out", SMALL)
    )
    assert not made.is_whole
    assert list(made.slides[0].failed) == ["x=64, y=0"]
    assert made.tiles == {"A": 7}
    assert len(rows_of(made.folder)) == len(list(made.folder.glob("A/*.png"))) == 7


def test_several_slides_are_paired_by_stem_and_a_broken_one_spoils_none(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    slides, areas = tmp_path / "slides", tmp_path / "areas"
    slides.mkdir()
    areas.mkdir()
    write_slide(slides / "P1_1.tif")
    write_slide(slides / "P2_1.tif", seed=1)
    (slides / "P3_1.tif").write_bytes(b"no slide")
    write_slide(slides / "none.tif")
    for name in ("P1_1", "P2_1", "P3_1"):
        drawn(areas / f"{name}.geojson", {"A": (64, 64, 256, 256), "B": (320, 64, 576, 256)})
    spec = TileSetSpec(tile_px=64, min_tissue=0, group_pattern=r"^(?P<group>P\d)_")
    work = write_tile_set([slides], areas, tmp_path / "out", spec)
    messages = []
    while True:
        try:
            messages.append(next(work).message)
        except StopIteration as end:
            made = end.value
            break
    assert "none has no annotations and was passed over." in messages
    assert [bool(slide.problem) for slide in made.slides] == [False, False, True]
    assert not made.is_whole
    pictures = read_picture_set(made.folder)
    assert pictures.groups is not None
    assert set(pictures.groups) == {"P1", "P2"}
    assert pictures.counts() == {"A": 18, "B": 24}


def test_classes_can_be_chosen_and_renamed(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    areas = {"A": (64, 64, 128, 128), "B": (128, 64, 192, 128), "C": (192, 64, 256, 128)}
    annotations = drawn(tmp_path / "a.json", areas)
    spec = TileSetSpec(tile_px=64, min_tissue=0, classes=("A", "x"), renamed={"C": "x"})
    assert result_of(write_tile_set([slide], annotations, tmp_path / "out", spec)).tiles == {
        "A": 1,
        "x": 1,
    }
    wrong = TileSetSpec(tile_px=64, min_tissue=0, classes=("D",))
    with pytest.raises(DataSetError, match="None of its classes A, B, C is among those asked for"):
        result_of(write_tile_set([slide], annotations, tmp_path / "other", wrong))
    assert not (tmp_path / "other").exists()


def test_a_class_that_no_file_can_be_called_by_keeps_its_name_in_the_table(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    areas = {"Tumor: High": (64, 64, 128, 128), "other/rest.": (192, 64, 256, 128)}
    made = result_of(
        write_tile_set([slide], drawn(tmp_path / "a.json", areas), tmp_path / "out", SMALL)
    )
    assert read_picture_set(made.folder).class_names == ("Tumor: High", "other/rest.")
    assert sorted(path.name for path in made.folder.iterdir() if path.is_dir()) == [
        "Tumor_ High",
        "other_rest",
    ]
    assert safe_name("..") == "_"


def test_what_lies_there_is_replaced_only_if_asked_and_only_if_it_is_a_tile_set(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    annotations, out = drawn(tmp_path / "a.json", {"A": (64, 64, 192, 192)}), tmp_path / "out"
    result_of(write_tile_set([slide], annotations, out, SMALL))
    with pytest.raises(UsageError, match="There is a tile set here"):
        result_of(write_tile_set([slide], annotations, out, SMALL))
    again = TileSetSpec(tile_px=128, min_tissue=0, overwrite=True)
    result_of(write_tile_set([slide], drawn(annotations, {"B": (0, 0, 256, 256)}), out, again))
    assert sorted(path.name for path in out.iterdir()) == ["B", "pictures.csv", "tile_set.json"]
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").touch()
    with pytest.raises(UsageError, match="is no tile set, and not empty"):
        result_of(write_tile_set([slide], annotations, precious, again))
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]


def test_stopping_halfway_leaves_nothing(tmp_path: Path, write_slide: Callable[..., Path]) -> None:
    slide = write_slide(tmp_path / "a.tif")
    work = write_tile_set(
        [slide], drawn(tmp_path / "a.json", {"A": (0, 0, 700, 500)}), tmp_path / "out", SMALL
    )
    assert next(work).done == 32
    work.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.tif"]


def test_slides_without_a_tile_are_an_error(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    slide = write_slide(tmp_path / "a.tif")
    small = drawn(tmp_path / "a.json", {"A": (70, 70, 80, 80)})
    with pytest.raises(DataSetError, match=r"No tile of 64 px at 0\.5 µm/px has a class"):
        result_of(write_tile_set([slide], small, tmp_path / "out", SMALL))
    outside = drawn(tmp_path / "b.json", {"A": (7000, 70, 8000, 80)})
    with pytest.raises((DataSetError, MaskError), match="none lies on the slide"):
        result_of(write_tile_set([slide], outside, tmp_path / "out", SMALL))
    assert not (tmp_path / "out").exists()


def test_a_bundle_for_whole_pictures_is_no_model_for_tiles(tiny_bundle: Path) -> None:
    card = open_bundle(tiny_bundle).card
    with pytest.raises(UsageError, match="sees whole pictures"):
        TileSetSpec().like(type(card)(**{**card.__dict__, "spacing": None}))


def test_a_wrong_pattern_and_a_wrong_rule_are_refused_before_anything_is_opened(
    tmp_path: Path,
) -> None:
    with pytest.raises(DataSetError, match="no regular expression"):
        next(
            write_tile_set(
                [tmp_path / "a.tif"], tmp_path, tmp_path / "out", TileSetSpec(group_pattern="(")
            )
        )
    with pytest.raises(UsageError, match="out of range"):
        TileSetSpec(rule=LabelRule(min_share=2))
