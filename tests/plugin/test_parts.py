"""The small parts: rates, words, the guard, what becomes of errors, what is written."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import slidecam
from slidecam.drawing.heat import heat_table
from slidecam.errors import SpacingError, UsageError, ViewerError
from slidecam.exchange.geojson import read_annotations
from slidecam.exchange.ome_zarr import read_heatmap_ome_zarr
from slidecam.files import check_folder
from slidecam.geometry import Box
from slidecam.models import open_bundle
from slidecam.plugin import tasks
from slidecam.plugin.areas import corners_of, shapes_layer
from slidecam.plugin.cards import bundle_card, class_rows, tile_card
from slidecam.plugin.compat import camera, canvas_size, keep_triton_out, scale_bar
from slidecam.plugin.job import Began, Ended, NewTiles, Rate, RunJob, Writing, duration
from slidecam.plugin.notices import VIEWER_WORDS, in_viewer_words
from slidecam.plugin.overlays import class_layer, heat_colors, heat_layers
from slidecam.plugin.placing import Placing
from slidecam.plugin.run_request import RunRequest, quoted
from slidecam.plugin.tasks import guarded, now_and_then
from slidecam.plugin.tile_explanation import (
    METHODS,
    TileExplanation,
    explain_tile,
    explanation_layer,
)
from slidecam.plugin.writing import (
    write_annotations,
    write_figure,
    write_ome_zarr,
    write_tiles_csv,
    write_tiles_geojson,
)
from slidecam.runs.spec import PredictSpec
from slidecam.sources import settle_spacing
from slidecam.steps import Step, result_of
from slidecam.store import Status
from stopping import PATIENCE
from tile_tables import read_tiles_csv

if TYPE_CHECKING:
    from collections.abc import Generator

    from napari.components import ViewerModel

    from slidecam.plugin.open_run import ShownRun


class Watch:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_rate_leaves_pauses_and_what_was_done_before_out() -> None:
    watch = Watch()
    rate = Rate(watch)
    rate.start(100)
    watch.now = 10
    with rate.standing():
        watch.now = 70
    assert rate.at(200, 400) == pytest.approx((10, 20))
    assert rate.at(100, 400)[1] == float("inf")


def test_durations_are_written_as_people_say_them() -> None:
    words = [duration(seconds) for seconds in (4.4, 200, 7500, float("inf"))]
    assert words == ["4 s", "3 min 20 s", "2 h 5 min", "unknown"]


@pytest.mark.parametrize(
    ("loaded", "maps", "kept_out"),
    [
        ({}, "libLLVM-15.so", True),
        ({"triton": object()}, "libLLVM-15.so", False),
        ({}, "libc.so", False),
    ],
)
def test_triton_is_kept_out_where_another_llvm_is_in_the_process(
    tmp_path: Path, loaded: dict[str, Any], maps: str, *, kept_out: bool
) -> None:
    (tmp_path / "maps").write_text(f"7f00 r-xp /usr/lib/{maps}\n")
    assert keep_triton_out(loaded, tmp_path / "maps") is kept_out
    assert (loaded.get("triton", "absent") is None) is kept_out
    assert not keep_triton_out({}, tmp_path / "no such file")


def test_a_runtime_error_leaves_a_background_generator_as_one_of_ours() -> None:
    def work() -> Generator[int]:
        yield 1
        raise RuntimeError("CUDA out of memory")

    steps = guarded(work())
    assert next(steps) == 1
    with pytest.raises(ViewerError, match="CUDA out of memory"):
        next(steps)
    assert not issubclass(ViewerError, RuntimeError)


def test_steps_are_shown_now_and_then_and_the_result_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def work() -> Generator[Step, None, str]:
        for number in range(20):
            yield Step("counting", number, 20)
            clock.now += 0.07
        return "done"

    shown = []

    def count() -> Generator[Step, None, str]:
        steps = now_and_then(work())
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return str(end.value)
            shown.append(step.done)
            yield step

    assert result_of(count()) == "done"
    assert shown == [0, 5, 10, 15]


def test_a_run_waits_while_it_is_held_and_goes_on(
    small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    job = RunJob(
        RunRequest(
            str(small_slide), tiny_bundle, tmp_path, PredictSpec(batch=4, workers=1, device="cpu")
        )
    )
    updates = job.updates()
    next(update for update in updates if isinstance(update, NewTiles))
    job.hold()
    later: list[object] = []
    follower = threading.Thread(target=lambda: later.extend(updates))
    follower.start()
    follower.join(0.5)
    assert follower.is_alive()
    assert not any(isinstance(update, Ended) for update in later)
    job.go_on()
    follower.join(PATIENCE)
    ended = later[-1]
    assert isinstance(ended, Ended)
    assert ended.run is not None
    assert (ended.run.table.status == Status.DONE).all()


def test_tiles_wait_for_a_screen_that_is_slow(
    small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    request = RunRequest(
        str(small_slide), tiny_bundle, tmp_path, PredictSpec(batch=4, workers=1, device="cpu")
    )
    job = RunJob(request, awaits=True)
    updates = job.updates()
    next(update for update in updates if isinstance(update, Began))
    job.shown()
    never_drawn = [update for update in updates if isinstance(update, NewTiles)]
    assert len(never_drawn) <= 2, "the first ones, and all others together at the end"
    assert sum(len(update.boxes) for update in never_drawn) == never_drawn[-1].total


def test_no_tile_is_classified_before_the_first_are_on_a_slow_screen(
    small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    request = RunRequest(
        str(small_slide), tiny_bundle, tmp_path, PredictSpec(batch=4, workers=1, device="cpu")
    )
    job = RunJob(request, awaits=True)
    updates = job.updates()
    next(update for update in updates if isinstance(update, Began))
    later: list[object] = []
    follower = threading.Thread(target=lambda: later.extend(updates))
    follower.start()
    follower.join(0.5)
    assert (follower.is_alive(), later) == (True, []), "what is pressed now is pressed in time"
    job.stop()
    follower.join(PATIENCE)
    ended = later[-1]
    assert isinstance(ended, Ended)
    assert ended.stopped


def test_the_end_of_a_run_is_said_before_its_files_are_written(
    small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    request = RunRequest(
        str(small_slide), tiny_bundle, tmp_path, PredictSpec(batch=4, workers=1, device="cpu")
    )
    updates = RunJob(request).updates()
    passed_on = []
    for update in updates:
        passed_on.append(update)
        if isinstance(update, Writing):
            break
    assert not (tmp_path / "small" / "tiles.csv").exists()
    last = [update for update in passed_on if isinstance(update, NewTiles)][-1]
    assert last.done == last.total, "and no tile is left out"
    updates.close()


def test_remedies_are_worded_as_they_are_had_in_the_viewer(
    tmp_path: Path, array_source: Any, noise: Any
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError) as blocked:
        check_folder(tmp_path / "file" / "out")
    assert in_viewer_words(str(blocked.value)).endswith("Choose another folder in “Results”.")
    with pytest.raises(SpacingError) as unknown:
        settle_spacing(replace(array_source(noise(64, 64)).facts, spacing=None))
    assert in_viewer_words(str(unknown.value)).endswith("Set “µm/px”.")


def test_the_shown_command_is_taken_by_a_shell_whatever_its_paths_hold() -> None:
    words = ["slidecam", "predict", "my slides/it's <1> & 2.svs"]
    if sys.platform != "win32":
        assert shlex.split(quoted(words)) == words
    assert quoted(["slidecam", "--resume"]) == "slidecam --resume"


def test_a_bundles_card_says_what_one_must_know(sample_data: Path) -> None:
    card = bundle_card(open_bundle(sample_data / "bundle").card)
    for words in (
        "tumour",
        "128 px tiles at 0.5 µm/px",
        "BSD-3-Clause",
        "validation_accuracy 0.978",
        "synthetic",
    ):
        assert words in card


def test_a_tiles_card_and_the_legend_tell_the_runs_own_figures(small_run: ShownRun) -> None:
    card = tile_card(small_run, 0)
    best = float(small_run.table.probabilities[0].max())
    assert f"{100 * best:.1f} %" in card
    assert "not calibrated" in card
    rows = class_rows(small_run)
    assert [row[0] for row in rows] == ["A", "B", "C"]
    assert sum(int(row[2][1]) for row in rows) == len(small_run.table)
    assert sum(float(row[2][0].rstrip(" %")) for row in rows) == pytest.approx(100, abs=0.3)


def test_heat_is_transparent_where_there_is_none_and_covers_more_the_more_there_is() -> None:
    colors = heat_colors(signed=False)
    np.testing.assert_allclose(colors.colors[-1], heat_table(9, signed=False)[-1], rtol=1e-6)
    alpha = colors.map(np.array([0, 0.25, 0.5, 1], np.float32))[:, 3]
    assert (np.diff(alpha) > 0).all()
    assert colors.map(np.array([np.nan], np.float32))[0, 3] == 0
    signed = heat_colors(signed=True).map(np.array([0, 0.5, 1], np.float32))
    assert signed[1, 3] < min(signed[0, 3], signed[2, 3])
    assert signed[2, 0] > signed[2, 2]


def test_the_shim_finds_camera_canvas_and_scale_bar(viewer: ViewerModel) -> None:
    camera(viewer).zoom = 3
    assert camera(viewer).zoom == 3
    assert canvas_size(viewer) == tuple(viewer.canvas.size)
    assert scale_bar(viewer) is viewer.canvas.overlays.scale_bar


class OldViewer:
    """A viewer as napari had it before 0.9."""

    camera, scale_bar, _canvas_size = "camera", "bar", (600, 800)


def test_the_shim_knows_napari_before_0_9_too() -> None:
    assert (camera(OldViewer), scale_bar(OldViewer), canvas_size(OldViewer)) == (
        "camera",
        "bar",
        (600, 800),
    )


def test_annotations_are_written_as_qupath_reads_them(tmp_path: Path) -> None:
    ring = np.array([[10.0, 20], [10, 60], [40, 60], [40, 20]])
    layer = shapes_layer(
        "drawn", [ring], ["tumour"], {"tumour": (200, 0, 0)}, Placing(None), Box(5, 7, 100, 100)
    )
    data, meta, _kind = layer
    path = tmp_path / "drawn.geojson"
    assert write_annotations(str(path), data, meta) == [str(path)]
    (found,) = read_annotations(path, Box(5, 7, 100, 100))
    np.testing.assert_allclose(found.area[0], ring[:, ::-1])
    assert (found.class_name, found.color) == ("tumour", (200, 0, 0))
    first = json.loads(path.read_text())["features"][0]["geometry"]["coordinates"][0][0]
    assert first == [20 - 5, 10 - 7], "QuPath counts from the corner of the scan"


def test_an_ellipse_is_written_round_and_a_line_is_refused() -> None:
    box = np.array([[0.0, 0], [0, 20], [10, 20], [10, 0]])
    ring = corners_of(box, "ellipse")
    np.testing.assert_allclose(np.square((ring - (10, 5)) / (10, 5)).sum(axis=1), 1)
    with pytest.raises(UsageError, match="holds no area"):
        corners_of(box, "line")


def test_a_class_layer_is_saved_as_tiles_and_as_a_table_and_as_a_figure(
    tmp_path: Path, small_run: ShownRun
) -> None:
    data, meta, _kind = class_layer(small_run)
    write_tiles_geojson(str(tmp_path / "t.geojson"), data, meta)
    write_tiles_csv(str(tmp_path / "t.csv"), data, meta)
    write_figure(str(tmp_path / "t.png"), data, meta)
    assert len(json.loads((tmp_path / "t.geojson").read_text())["features"]) == len(small_run.table)
    np.testing.assert_array_equal(read_tiles_csv(tmp_path / "t.csv").boxes, small_run.table.boxes)
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_a_heatmap_is_saved_whole(tmp_path: Path, small_run: ShownRun) -> None:
    data, meta, _kind = heat_layers(small_run.heatmaps[0], small_run)[1]
    write_ome_zarr(str(tmp_path / "h.zarr"), data, meta)
    saved = read_heatmap_ome_zarr(tmp_path / "h.zarr")
    np.testing.assert_array_equal(np.asarray(saved.levels[0][1]), np.asarray(data[0]))


def test_a_heatmap_is_not_written_over_a_folder_of_other_things(
    tmp_path: Path, small_run: ShownRun
) -> None:
    mine = tmp_path / "slides"
    mine.mkdir()
    (mine / "precious.svs").write_text("slide")
    data, meta, _kind = heat_layers(small_run.heatmaps[0], small_run)[0]
    with pytest.raises(UsageError, match="no OME-Zarr"):
        write_ome_zarr(str(mine), data, meta)
    assert (mine / "precious.svs").exists()
    for _twice in range(2):
        write_ome_zarr(str(tmp_path / "h.zarr"), data, meta)


def test_what_is_not_ours_is_refused_with_a_word(tmp_path: Path) -> None:
    stranger = {"name": "nuclei", "metadata": {}}
    for write in (write_tiles_csv, write_tiles_geojson, write_figure):
        with pytest.raises(UsageError, match="nuclei shows no run of slidecam"):
            write(str(tmp_path / "x"), None, stranger)
    with pytest.raises(UsageError, match="nuclei is no heatmap"):
        write_ome_zarr(str(tmp_path / "x"), None, stranger)
    assert list(tmp_path.iterdir()) == []


def test_a_tile_is_explained_by_all_methods_and_each_map_lies_on_it(own_run: ShownRun) -> None:
    found: TileExplanation = result_of(explain_tile(own_run, 2, "B", device="cpu"))
    assert [picture.method for picture in found.pictures] == list(METHODS)
    assert found.class_name == "B"
    assert found.probability == pytest.approx(float(own_run.table.probabilities[2, 1]), abs=1e-4)
    for picture in found.pictures:
        assert 0 <= picture.deletion <= 1
        assert 0 <= picture.insertion <= 1
        assert picture.pixels.shape == found.tile.shape
    data, meta, _kind = explanation_layer(found, found.pictures[0], own_run)
    scale, translate = np.array(meta["scale"]), np.array(meta["translate"])
    corners = own_run.placing.to_pixels(
        np.stack([translate - scale / 2, translate + scale * (data.shape[0] - 0.5)])
    )
    x, y, width, height = own_run.table.boxes[2].tolist()
    np.testing.assert_allclose(corners, [[x, y], [x + width, y + height]])
    assert (found.folder / "panel.html").exists()


def test_a_remedy_that_is_said_otherwise_in_the_viewer_is_one_that_the_pipeline_has() -> None:
    source = Path(slidecam.__file__).parent
    outside = [
        path for path in source.rglob("*.py") if "plugin" not in path.relative_to(source).parts
    ]
    words = "".join(path.read_text(encoding="utf-8") for path in outside)
    assert [typed for typed, _clicked in VIEWER_WORDS if typed not in words] == []
