"""What the scripts do with results that are there: tiles, heatmap, regions, annotations.

No process is started.
"""

from __future__ import annotations

import csv
import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from slidecam.classes import ClassSet
from slidecam.exchange.qupath import QuPathExport, write_for_qupath
from slidecam.foreground import load_classes
from slidecam.geometry import Size
from slidecam.models import Card, open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.runs.tiles import TileTable
from slidecam.sources import read_spacings
from slidecam.store import RunStore
from slidecam.tile_sets import TileSetSpec, write_tile_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from qupath.conftest import Desk
    from slidecam.classes import Activation

SCRIPTS = Path(__file__).parents[2] / "qupath-scripts"

SIZE = (700, 500)
"""What `write_slide` makes."""


@pytest.fixture(scope="module")
def slide(tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path]) -> Path:
    return write_slide(tmp_path_factory.mktemp("slides") / "größe 1.tif")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, slide: Path, tiny_bundle: Path) -> Path:
    out = tmp_path_factory.mktemp("results")
    list(predict(slide, tiny_bundle, out, PredictSpec(batch=32, shown={"*": SIZE})))
    return out


@pytest.fixture
def one_logit(tmp_path: Path, slide: Path) -> Path:
    torch.manual_seed(2)
    widths = {"widths": [4, 4, 4]}
    network = build_network("slidecam/pocket_resnet", widths, 1, tmp_path)
    pixels = {
        "tile_px": 64,
        "spacing": 0.5,
        "input_px": 64,
        "mean": (0.7, 0.5, 0.6),
        "std": (0.1, 0.1, 0.1),
    }
    card = Card(
        name="one",
        architecture="slidecam/pocket_resnet",
        architecture_args=widths,
        class_names=("Tumour",),
        activation="sigmoid",
        **pixels,  # type: ignore[arg-type]
    )
    bundle = save_bundle(tmp_path / "one", card, network).path
    out = tmp_path / "out"
    list(predict(slide, bundle, out, PredictSpec(batch=64, heatmap="none", shown={"*": SIZE})))
    return out


def classified(desk: Desk, slide: Path, results: Path, **more: Any) -> None:
    desk.open(slide, SIZE, **more)
    desk.done("1", f"results={results}")


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.groovy")), ids=lambda path: path.stem)
def test_every_script_compiles_and_says_what_it_is_for(desk: Desk, script: Path) -> None:
    desk.ask("compile", script=str(script))
    header, _body = script.read_text(encoding="utf-8").split("*/", 1)
    assert header.startswith("/**\n * ")
    assert "QuPath 0.5.1 to 0.7" in header
    assert "Arguments: " in header


def test_there_are_six_scripts_and_no_other_groovy_that_qupath_would_list() -> None:
    assert [path.name[0] for path in sorted(SCRIPTS.rglob("*.groovy"))] == list("123456")


def test_tiles_come_back_with_the_numbers_of_predict(
    desk: Desk, slide: Path, results: Path
) -> None:
    classified(desk, slide, results)
    store = RunStore.open(results / slide.stem)
    tiles = desk.tiles()
    assert [tile["box"] for tile in tiles] == store.boxes.tolist()
    values = [[tile["measurements"][f"prob_{name}"] for name in "ABC"] for tile in tiles]
    np.testing.assert_array_equal(np.array(values, np.float32), store.probabilities)
    assert [tile["class"] for tile in tiles] == [
        "ABC"[winner] for winner in store.probabilities.argmax(axis=1)
    ]
    assert all(tile["locked"] and tile["metadata"] == {"slidecam": "tile"} for tile in tiles)
    assert {tile["label"] for tile in tiles} == {None}, "QuPath draws names over the slide"


def test_one_logit_gives_the_numbers_of_predict_and_no_class_below_one_half(
    desk: Desk, slide: Path, one_logit: Path
) -> None:
    classified(desk, slide, one_logit)
    known = RunStore.open(one_logit / slide.stem).probabilities[:, 0]
    tiles = desk.tiles()
    np.testing.assert_array_equal(
        np.array([tile["measurements"]["prob_Tumour"] for tile in tiles], np.float32), known
    )
    assert [tile["class"] for tile in tiles] == [
        "Tumour" if value >= 0.5 else None for value in known
    ]
    assert 0 < np.ptp(known) < 1, "or nothing was shown"


def test_a_viewer_shows_filled_tiles_and_a_second_run_replaces_them(
    desk: Desk, slide: Path, results: Path
) -> None:
    classified(desk, slide, results, viewer=True)
    tiles = len(desk.tiles())
    seen = desk.look()
    assert (seen["map"], seen["display"]) == (None, [True, pytest.approx(0.6), True])
    desk.done("1", f"results={results}", "map=B")
    seen = desk.look()
    assert seen["map"] == {
        "measurement": "prob_B",
        "objects": tiles,
        "low": 0,
        "high": 1,
        "colors": "Inferno",
    }
    assert len(seen["objects"]) == tiles


def test_class_names_with_commas_quotes_and_umlauts_survive_the_table(
    desk: Desk, slide: Path, tmp_path: Path
) -> None:
    names = ['Tumör, "high"', "a: b", "C"]
    folder = tmp_path / slide.stem / "qupath"
    _write_by_hand(folder, names)
    classified(desk, slide, tmp_path)
    assert [tile["class"] for tile in desk.tiles()] == ['Tumör, "high"', "a: b", None]
    assert list(desk.tiles()[0]["measurements"]) == [f"prob_{name}" for name in names]
    assert list(desk.tiles()[2]["measurements"]) == ["prob_a: b", "prob_C"]


def test_a_tile_of_several_classes_keeps_them_all_in_its_metadata(
    desk: Desk, slide: Path, tmp_path: Path
) -> None:
    names = ['Tumör, "high"', "a: b", "C"]
    _write_by_hand(tmp_path / slide.stem / "qupath", names, "sigmoid", (0.7, 0.77, 0.07))
    classified(desk, slide, tmp_path)
    first, second, third = desk.tiles()
    assert [tile["class"] for tile in (first, second, third)] == ['Tumör, "high"', "a: b", None]
    assert first["metadata"] == {"slidecam": "tile", "called classes": 'Tumör, "high" + C'}
    assert second["metadata"] == {"slidecam": "tile", "called classes": "a: b + C"}
    assert third["metadata"] == {"slidecam": "tile"}
    assert first["measurements"]["prob_C"] == pytest.approx(0.1)


def test_a_tile_of_an_ensemble_has_its_members_disagreement_among_its_measurements(
    desk: Desk, slide: Path, tmp_path: Path
) -> None:
    names = ['Tumör, "high"', "a: b", "C"]
    values = np.array([0.37, 0.021, 0.64], np.float32)
    folder = tmp_path / slide.stem / "qupath"
    _write_by_hand(folder, names, "sigmoid", (0.7, 0.77, 0.07), disagreement=values)
    classified(desk, slide, tmp_path)
    found = [tile["measurements"]["disagreement"] for tile in desk.tiles()]
    assert found == pytest.approx(values.tolist())
    assert desk.tiles()[0]["measurements"]["prob_C"] == pytest.approx(0.1)
    called = {"slidecam": "tile", "called classes": 'Tumör, "high" + C'}
    assert desk.tiles()[0]["metadata"] == called


def _write_by_hand(
    folder: Path,
    names: list[str],
    activation: Activation = "softmax",
    thresholds: tuple[float, ...] = (),
    disagreement: NDArray[np.float32] | None = None,
) -> None:
    boxes = np.array([(100 * place, 0, 100, 100) for place in range(3)], np.int64)
    values = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [np.nan, 0.5, 0.5]], np.float32)
    colors = ((200, 0, 0), (0, 200, 0), (0, 0, 200))
    table = TileTable(
        boxes,
        np.ones(3, np.uint8),
        values,
        ClassSet(tuple(names), activation, colors, thresholds),
        disagreement=disagreement,
    )
    write_for_qupath(QuPathExport(table), folder)


def test_the_heatmap_lies_where_the_index_says_with_the_opacity_asked_for(
    desk: Desk, slide: Path, results: Path
) -> None:
    classified(desk, slide, results, viewer=True)
    desk.done("3", "class=B", "opacity=0.4")
    told, beside = [
        each
        for each in json.loads((results / slide.stem / "qupath" / "slidecam.json").read_text())[
            "heatmaps"
        ]
        if each["class"] == "B"
    ]
    assert (told["method"], beside["method"]) == ("cam", "gradcam++")
    desk.done("3", "class=B", "opacity=0.4")
    seen = desk.look()
    (overlay,) = seen["overlays"]
    assert overlay["region"] == [told[side] for side in ("x", "y", "width", "height")]
    assert overlay["opacity"] == pytest.approx(0.4)
    assert overlay["region"][2] % overlay["picture"][0] == 0
    assert seen["display"][2] is True


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["class=Z"], "A by gradcam"),
        (["opacity=2"], "opacity=2"),
        (["opacity=much"], "opacity=much"),
        (["colour=red"], "'colour=red' is no setting"),
    ],
)
def test_a_wrong_wish_is_named(
    desk: Desk, slide: Path, results: Path, args: list[str], told: str
) -> None:
    classified(desk, slide, results, viewer=True)
    ran = desk.run("3", *args)
    assert ran.kind == "IllegalArgumentException"
    assert told in str(ran.problem)


def test_without_a_viewer_the_heatmap_script_says_so_and_ends(
    desk: Desk, slide: Path, results: Path
) -> None:
    classified(desk, slide, results)
    (word,) = desk.done("3").log
    assert "No viewer shows größe 1" in word


def test_a_viewer_that_shows_another_image_is_left_alone(
    desk: Desk, slide: Path, results: Path
) -> None:
    classified(desk, slide, results, viewer="other")
    desk.done("1", f"results={results}", "map=B", batch=[0, 1])
    assert "No viewer shows" in desk.done("3").log[0]
    desk.ask("decorate")
    desk.done("6")
    seen = desk.look()
    assert (seen["overlays"], seen["display"]) == ([{"foreign": True}], [False, 1.0, True])
    assert seen["map"]["measurement"] == "Area"


def test_the_history_says_which_bundle_made_the_tiles_and_how_to_make_them_again(
    desk: Desk, slide: Path, results: Path, tiny_bundle: Path
) -> None:
    classified(desk, slide, results)
    ((name, script, facts),) = desk.look()["steps"]
    assert name == "Classify with slidecam"
    assert facts["digest"] == open_bundle(tiny_bundle).digest
    assert facts["slidecam"] == version("slidecam")
    assert "qupath.ext.slidecam.Slidecam.classify([" in script
    assert str(results) in script


def test_a_picture_of_a_file_that_is_not_its_first_has_results_of_its_own(
    desk: Desk, slide: Path, tmp_path: Path
) -> None:
    _write_by_hand(tmp_path / f"{slide.stem}-image3" / "qupath", ["a", "b", "c"])
    builder = {"builderType": "uri", "uri": slide.as_uri(), "args": ["--series", "2"]}
    desk.open(slide, SIZE, builder=builder)
    desk.done("1", f"results={tmp_path}")
    assert len(desk.tiles()) == 3
    desk.open(slide, SIZE)
    assert "is not there" in str(desk.run("1", f"results={tmp_path}").problem)


def test_a_path_whose_backslashes_were_read_as_control_characters_is_named(
    desk: Desk, slide: Path
) -> None:
    desk.open(slide, SIZE)
    ran = desk.run("1", "model=C:\x08undles\new")  # as Groovy reads C:\\bundles\\new
    assert ran.kind == "IllegalArgumentException"
    assert "Write Windows paths with /" in str(ran.problem)


def test_a_windows_path_in_a_script_is_what_it_says(
    desk: Desk, slide: Path, tmp_path: Path
) -> None:
    (script,) = desk.scripts.glob("4*.groovy")
    text = script.read_text(encoding="utf-8")
    assert text.count("results  : $/ /$,") == 1
    typed = tmp_path / "4_typed.groovy"
    typed.write_text(text.replace("$/ /$,", r"$/C:\new\users\a b/$,"), encoding="utf-8")
    shutil.copy(next(desk.scripts.glob("*.jar")), tmp_path)
    desk.open(slide, SIZE)
    answer = desk.ask("run", script=str(typed), args=[])
    assert r"C:\new\users\a b" in answer["problem"]


def test_regions_cover_exactly_the_likely_tiles_of_their_class(
    desk: Desk, slide: Path, results: Path
) -> None:
    classified(desk, slide, results)
    threshold = float(np.median(RunStore.open(results / slide.stem).probabilities.max(axis=1)))
    desk.done("4", f"threshold={threshold}")
    seen = desk.look()["objects"]
    regions = [each for each in seen if each["kind"] == "annotation"]
    for name in "ABC":
        likely = [tile["area"] for tile in seen if tile["kind"] == "tile" and tile["class"] == name]
        kept = [
            tile["area"]
            for tile in seen
            if tile["kind"] == "tile"
            and tile["class"] == name
            and tile["measurements"][f"prob_{name}"] >= threshold
        ]
        assert len(kept) <= len(likely)
        assert sum(each["area"] for each in regions if each["class"] == name) == pytest.approx(
            sum(kept)
        )
    assert regions
    assert all(each["locked"] and "slidecam" in each["metadata"] for each in regions)


def test_a_second_merge_replaces_our_regions_and_no_one_elses(
    desk: Desk, slide: Path, results: Path
) -> None:
    classified(
        desk, slide, results, objects=[{"box": [0, 0, 50, 50], "class": "A", "name": "mine"}]
    )
    desk.done("4", "threshold=0")
    regions = [each for each in desk.look()["objects"] if each["kind"] == "annotation"]
    desk.done("4", "threshold=1")
    assert len(regions) > 1
    assert [each["name"] for each in desk.look()["objects"] if each["kind"] == "annotation"] == [
        "mine"
    ]


def test_small_regions_can_be_left_out(desk: Desk, slide: Path, results: Path) -> None:
    classified(desk, slide, results)
    tile = desk.tiles()[0]["area"]
    desk.done("4", "threshold=0", "smallest=3")
    areas = [each["area"] for each in desk.look()["objects"] if each["kind"] == "annotation"]
    assert all(area >= 3 * tile - 1 for area in areas)


def test_annotations_go_out_as_tiles_can_be_cut_from_them(
    desk: Desk, slide: Path, results: Path, tmp_path: Path
) -> None:
    drawn = [
        {"polygon": [[60.5, 50.25], [300, 50], [300, 400], [60, 400]], "class": "Tumour"},
        {"box": [320, 60, 200, 300], "class": "Stroma"},
        {"box": [0, 0, 10, 10]},
        {"point": [5, 5], "class": "Tumour"},
    ]
    classified(desk, slide, results, objects=drawn)
    desk.done("4", "threshold=0")
    for _twice in range(2):
        desk.done("5", f"out={tmp_path / 'drawn'}")
    path = tmp_path / "drawn" / f"{slide.stem}.geojson"
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert [each["properties"]["classification"]["name"] for each in collection["features"]] == [
        "Tumour",
        "Stroma",
    ]
    assert collection["slidecam"]["image"] == {
        "path": str(slide),
        "size_px": list(SIZE),
        "um_px": 0.5,
        "series": 0,
    }
    assert load_classes(path, Size(*SIZE)).areas["Tumour"][0][0][0].tolist() == [60.5, 50.25]
    table = tmp_path / "drawn" / "slides.csv"
    assert read_spacings(table) == {slide.name: 0.5}
    with table.open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [str(slide)]
    steps = write_tile_set(
        [slide], tmp_path / "drawn", tmp_path / "tiles", TileSetSpec(tile_px=64, spacing=0.5)
    )
    list(steps)
    assert {path.name for path in (tmp_path / "tiles").iterdir() if path.is_dir()} == {
        "Stroma",
        "Tumour",
    }


def test_a_slide_without_annotations_is_passed_over(
    desk: Desk, slide: Path, results: Path, tmp_path: Path
) -> None:
    classified(desk, slide, results)
    assert "nothing is written" in desk.done("5", f"out={tmp_path / 'drawn'}").log[0]
    assert not (tmp_path / "drawn").exists()


def test_removing_takes_away_what_we_added_and_nothing_else(
    desk: Desk, slide: Path, results: Path
) -> None:
    mine = [
        {"box": [0, 0, 50, 50], "class": "A", "name": "mine"},
        {"kind": "tile", "box": [0, 0, 9, 9], "class": "A"},
    ]
    classified(desk, slide, results, objects=mine, viewer=True)
    desk.done("3")
    desk.done("4", "threshold=0")
    desk.done("6")
    seen = desk.look()
    assert [(each["kind"], each["name"]) for each in seen["objects"]] == [
        ("annotation", "mine"),
        ("tile", None),
    ]
    assert (seen["overlays"], seen["map"], seen["kept"]) == ([], None, {})
    assert seen["display"] == [False, 1.0, True], "detections are drawn as before"


def test_removing_says_that_undo_brings_nothing_back_and_what_does(
    desk: Desk, slide: Path, results: Path
) -> None:
    classified(desk, slide, results)
    words = " ".join(desk.done("6").log)
    assert "Undo does not bring them back" in words
    assert str(results / slide.stem) in words


def test_removing_leaves_other_peoples_map_and_overlay(
    desk: Desk, slide: Path, results: Path
) -> None:
    classified(desk, slide, results, viewer=True)
    desk.done("3")
    desk.ask("decorate")
    desk.done("6")
    seen = desk.look()
    assert seen["overlays"] == [{"foreign": True}]
    assert seen["map"]["measurement"] == "Area"


@pytest.mark.parametrize(
    ("opened", "told"),
    [
        (
            {
                "builder": {
                    "builderType": "rotated",
                    "rotation": "ROTATE_180",
                    "builder": {"builderType": "uri"},
                }
            },
            "rotated",
        ),
        (
            {"builder": {"builderType": "pyramidize", "builder": {"builderType": "cropped"}}},
            "cropped",
        ),
        ({"slide": "omero://host/7"}, "is no file on this computer"),
    ],
)
def test_an_image_in_another_frame_is_refused(
    desk: Desk, slide: Path, results: Path, opened: dict[str, Any], told: str
) -> None:
    desk.open(opened.pop("slide", slide), SIZE, **opened)
    ran = desk.run("1", f"results={results}")
    assert ran.kind == "IllegalStateException"
    assert told in str(ran.problem)


def test_builders_that_only_change_colours_are_taken(
    desk: Desk, slide: Path, results: Path
) -> None:
    classified(
        desk,
        slide,
        results,
        builder={"builderType": "color_deconvolved", "builder": {"builderType": "uri"}},
    )
    assert desk.tiles()


@pytest.mark.parametrize("script", "123456")
def test_without_an_image_or_a_file_of_its_own_a_script_says_what_to_do(
    desk: Desk, script: str
) -> None:
    desk.ask("open", viewer=True)
    assert "No image is open" in str(desk.run(script).problem)
    assert "Drag slidecam-qupath-" in str(desk.run(script, unsaved=True).problem)


def test_results_of_another_view_are_refused_and_nothing_is_added(
    desk: Desk, slide: Path, results: Path
) -> None:
    desk.open(slide, (500, 400))
    ran = desk.run("1", f"results={results}")
    assert ran.kind == "IllegalStateException"
    assert "700 x 500 px" in str(ran.problem)
    assert "--shown 500x400" in str(ran.problem)
    assert desk.tiles() == []


def test_results_of_another_version_are_refused(desk: Desk, slide: Path, tmp_path: Path) -> None:
    folder = tmp_path / slide.stem / "qupath"
    folder.mkdir(parents=True)
    (folder / "slidecam.json").write_text('{"format": "slidecam-qupath", "version": 3}')
    desk.open(slide, SIZE)
    assert "another version" in str(desk.run("1", f"results={tmp_path}").problem)
