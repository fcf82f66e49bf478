"""What a run shows in a viewer while it goes, and afterwards; all without a window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Layer
from napari.layers._source import layer_source

from slidecam.errors import UsageError
from slidecam.geometry import Box, Spacing
from slidecam.plugin.areas import ring_in_pixels, shapes_layer
from slidecam.plugin.compat import camera
from slidecam.plugin.job import Began, Ended, Heat, NewTiles, RunJob, Said, Writing
from slidecam.plugin.overlays import CLASS, HEAT, PROBABILITY
from slidecam.plugin.placing import NO_TILE, Placing
from slidecam.plugin.run_request import Region, RunRequest, drawn_region, region_in_view, within
from slidecam.plugin.slide import slide_layer
from slidecam.plugin.viewer_state import SPOT, ViewerState
from slidecam.plugin.writing import slide_part, write_view
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from slidecam.plugin.open_run import ShownRun

SPEC = PredictSpec(batch=4, workers=1, device="cpu", existing="resume")


@pytest.fixture
def state(viewer: ViewerModel, small_slide: Path) -> ViewerState:
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    return ViewerState(viewer)


def follow(state: ViewerState, update: Any) -> None:
    takers: dict[type, Any] = {
        Began: state.began,
        NewTiles: state.tiles,
        Heat: state.heat,
        Ended: state.ended,
    }
    if not isinstance(update, Said | Writing):
        takers[type(update)](update)


def request(slide: Path, bundle: Path, out: Path, region: Region | None = None) -> RunRequest:
    return RunRequest(str(slide), bundle, out, SPEC, region)


def names(state: ViewerState) -> list[str]:
    return [layer.name for layer in state.viewer.layers]


def class_layer(state: ViewerState) -> Any:
    return state.overlays(CLASS)[0]


def first_corner(layer: Any) -> Any:
    """Return where the outer corner of a raster's first pixel lies."""
    return np.asarray(layer.translate) - np.asarray(layer.scale) / 2


class Clock:
    """Seconds that pass with every look at them."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_tiles_appear_while_the_run_goes_and_end_as_the_store_has_them(
    state: ViewerState, small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    job = RunJob(request(small_slide, tiny_bundle, tmp_path), Clock(0.3))
    seen = []
    for update in job.updates():
        follow(state, update)
        if isinstance(update, NewTiles):
            seen.append(int((class_layer(state).data > 0).sum()))
            state.show_class(PROBABILITY, "B")
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == len(RunStore.open(tmp_path / "small"))
    run = state.run
    assert run is not None
    assert run.is_finished
    np.testing.assert_array_equal(class_layer(state).data[run.cells.places], run.table.winners + 1)
    (layer,) = state.overlays(PROBABILITY)
    assert layer.metadata["class"] == "B"
    np.testing.assert_array_equal(layer.data[run.cells.places], run.table.probabilities[:, 1])
    assert len(state.overlays(HEAT)) == 1, "others are made when they are chosen"
    assert not [name for name in names(state) if "so far" in name]


def test_a_heatmap_is_painted_before_the_run_is_over(
    state: ViewerState,
    small_slide: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("slidecam.plugin.job.HEAT_EVERY", 0.5)
    monkeypatch.setattr("slidecam.plugin.job.HEAT_SHARE", 1)
    heats: list[int] = []
    chosen: set[str] = set()
    for update in RunJob(request(small_slide, tiny_bundle, tmp_path), Clock(0.3)).updates():
        follow(state, update)
        if isinstance(update, Heat):
            heats.append(int(np.isfinite(update.levels[0][0]).sum()))
            so_far = [name for name in names(state) if "so far" in name]
            assert len(so_far) <= 1 + len(chosen), "others are made when they are chosen"
            assert {f"small: CAM {name} (so far)" for name in chosen} <= set(so_far)
            chosen.add("ABC"[len(heats) % 3])
            state.show_class(HEAT, "ABC"[len(heats) % 3])
    assert len(heats) > 1
    assert heats == sorted(heats)


def test_the_same_run_from_the_widget_and_from_the_command_line_gives_equal_stores(
    state: ViewerState, small_slide: Path, small_out: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    for update in RunJob(request(small_slide, tiny_bundle, tmp_path)).updates():
        follow(state, update)
    mine, theirs = RunStore.open(tmp_path / "small"), RunStore.open(small_out / "small")
    assert mine.digest == theirs.digest
    for name in ("boxes", "status", "logits", "probabilities", "order"):
        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
    assert mine.maps is not None
    assert theirs.maps is not None
    np.testing.assert_array_equal(mine.maps[:], theirs.maps[:])


def test_a_run_that_was_stopped_goes_on_from_where_it_was_by_the_other_door(
    state: ViewerState, small_slide: Path, small_out: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    job = RunJob(request(small_slide, tiny_bundle, tmp_path), Clock(0.3))
    for update in job.updates():
        follow(state, update)
        if isinstance(update, NewTiles):
            job.stop()
    assert isinstance(update, Ended)
    assert update.stopped
    done = int((RunStore.open(tmp_path / "small").status == 1).sum())
    assert 0 < done < len(RunStore.open(tmp_path / "small"))
    assert state.run is not None
    assert not state.run.is_finished
    for _event in predict(small_slide, tiny_bundle, tmp_path, SPEC):
        pass
    np.testing.assert_array_equal(
        RunStore.open(tmp_path / "small").logits, RunStore.open(small_out / "small").logits
    )


def test_a_run_of_the_open_slide_is_recognised_and_shown_at_once(
    state: ViewerState, small_out: Path, tmp_path: Path
) -> None:
    assert state.recognise(tmp_path) is None
    shown = state.recognise(small_out)
    assert shown is not None
    assert names(state)[:2] == ["small", "small: class"]
    assert [name[:-1] for name in names(state)[2:]] == ["small: CAM "], "of the commonest class"
    before = names(state)
    state.recognise(small_out)
    assert names(state) == before


def test_what_was_cleared_while_a_run_went_on_is_shown_with_the_slide_again(
    state: ViewerState, small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    for update in RunJob(request(small_slide, tiny_bundle, tmp_path), Clock(0.3)).updates():
        follow(state, update)
        if isinstance(update, NewTiles):
            state.viewer.layers.clear()
    assert names(state) == [], "heatmaps of a slide that is gone would lie there alone"
    state.viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    run = state.recognise(tmp_path)
    assert run is not None
    assert run.is_finished
    assert len(state.overlays(CLASS, PROBABILITY, HEAT)) == 2


def test_the_slide_that_was_chosen_last_stays_the_one_that_is_looked_at(
    state: ViewerState, write_slide: Any, tmp_path: Path
) -> None:
    def name() -> str | None:
        facts = state.slide()
        return None if facts is None else facts.name

    first = state.viewer.layers[0]
    other = state.viewer.add_layer(
        Layer.create(*slide_layer(write_slide(tmp_path / "other.tif", 200, 100))[0])
    )
    assert name() == "other"
    state.viewer.layers.selection.active = first
    assert name() == "small"
    state.viewer.add_shapes(name="drawn")
    assert name() == "small", (
        "shapes are drawn on the slide that was looked at, and not on the topmost"
    )
    state.viewer.layers.remove(first)
    assert name() == "other"
    state.viewer.layers.remove(other)
    assert name() is None


def test_a_run_of_another_slide_of_that_name_is_not(
    state: ViewerState, tmp_path: Path, tiny_bundle: Path, write_slide: Any
) -> None:
    (tmp_path / "other").mkdir()
    other = write_slide(tmp_path / "other" / "small.tif", 300, 300, seed=3)
    for _event in predict(other, tiny_bundle, tmp_path / "out", SPEC):
        pass
    assert state.recognise(tmp_path / "out") is None


def test_the_threshold_hides_what_is_less_probable(state: ViewerState, own_run: ShownRun) -> None:
    state.show(own_run)
    best = np.nanmax(own_run.table.probabilities, axis=1)
    threshold = float(np.median(best))
    state.show_class(PROBABILITY, "A")
    state.set_threshold(threshold)
    assert int((class_layer(state).data > 0).sum()) == int((best >= threshold).sum())
    assert state.overlays(PROBABILITY)[0].contrast_limits[0] == pytest.approx(threshold)
    state.set_threshold(0)
    assert int((class_layer(state).data > 0).sum()) == len(best)


def test_one_class_is_shown_alone_and_all_overlays_fade_together(
    state: ViewerState, own_run: ShownRun
) -> None:
    state.show(own_run)
    state.show_class(HEAT, "B")
    shown = [layer.name for layer in state.overlays(CLASS, PROBABILITY, HEAT) if layer.visible]
    assert shown == ["small: CAM B"]
    state.show_class(HEAT, "B", "gradcam++")
    state.show_class(HEAT, "C")
    shown = [layer.name for layer in state.overlays(CLASS, PROBABILITY, HEAT) if layer.visible]
    assert shown == ["small: Grad-CAM++ C"]
    state.set_opacity(0.25)
    assert {layer.opacity for layer in state.overlays(CLASS, PROBABILITY, HEAT)} == {0.25}


def test_flying_to_the_most_suspicious_tile_brings_it_into_view(
    state: ViewerState, own_run: ShownRun
) -> None:
    state.show(own_run)
    order = state.suspicious("B")
    chosen = own_run.table.probabilities[order, 1]
    assert (np.diff(chosen) <= 0).all()
    selected: list[int] = []
    state.tile_selected.connect(selected.append)
    state.fly_to(int(order[0]))
    x, y, width, height = own_run.table.boxes[order[0]].tolist()
    facts = state.slide()
    assert facts is not None
    seen = region_in_view(state.viewer, facts).view
    assert seen is not None
    assert seen.x <= x
    assert seen.y <= y
    assert seen.right >= min(x + width, 400)
    assert seen.bottom >= min(y + height, 300)
    assert selected == [order[0]]
    spot = state.viewer.layers[SPOT]
    corners = own_run.placing.to_pixels(
        np.stack([spot.data_to_world(point) for point in spot.data[:, 0]])
    )
    assert [corners.min(0).tolist(), corners.max(0).tolist()] == [[x, y], [x + width, y + height]]
    state.fly_to(int(order[1]))
    assert names(state).count(SPOT) == 1


def test_the_frame_around_a_tile_goes_with_its_run(state: ViewerState, own_run: ShownRun) -> None:
    state.show(own_run)
    state.select(3)
    assert SPOT in state.viewer.layers
    state.clear()
    assert names(state) == ["small"]
    assert state.run is None


def test_the_tile_under_the_cursor_is_the_one_that_covers_it(
    state: ViewerState, own_run: ShownRun
) -> None:
    assert state.tile_at((0.0, 0.0)) == NO_TILE
    state.show(own_run)
    for row, (x, y, width, height) in enumerate(own_run.table.boxes.tolist()):
        world = own_run.placing.to_world(np.array([x + 0.9 * width, y + 0.1 * height]))[0]
        assert state.tile_at((0.0, *world)) == row
    assert state.tile_at((-50.0, -50.0)) == NO_TILE


def test_selected_shapes_become_a_region_in_level_0_pixels(
    state: ViewerState, small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    facts = state.slide()
    assert facts is not None
    with pytest.raises(UsageError, match="No shapes layer is selected"):
        drawn_region(state.viewer, facts.placing)
    ring = np.array([[60, 50], [60, 180], [200, 180], [200, 50.0]])
    layer = Layer.create(*shapes_layer("mine", [ring], [""], {}, facts.placing))
    state.viewer.add_layer(layer)
    state.viewer.layers.selection.active = layer
    region = drawn_region(state.viewer, facts.placing)
    np.testing.assert_allclose(region.areas[0][0], ring[:, ::-1])
    done = list(RunJob(request(small_slide, tiny_bundle, tmp_path, region)).updates())[-1]
    assert isinstance(done, Ended)
    assert done.run is not None
    boxes = done.run.table.boxes
    assert 0 < len(boxes) < 20
    assert (boxes[:, 0] < 180).all()
    assert (boxes[:, 1] < 200).all()


def test_a_slide_moves_to_the_spacing_that_was_given_with_all_that_lies_on_it(
    state: ViewerState, small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    slide = state.viewer.layers[0]
    ring = np.array([[40.0, 50], [300, 50], [300, 200]])
    drawn = state.viewer.add_shapes(
        [ring[:, ::-1]], shape_type="polygon", **Placing(Spacing(0.5, 0.5)).vectors()
    )
    eye = camera(state.viewer)
    eye.center, eye.zoom = (0, 50.0, 100.0), 4.0
    finer = replace(request(small_slide, tiny_bundle, tmp_path), spec=replace(SPEC, mpp=0.25))
    for update in RunJob(finer).updates():
        follow(state, update)
    assert slide.scale.tolist() == [0.25, 0.25], (
        "or every overlay would lie at half the slide's size"
    )
    np.testing.assert_allclose(first_corner(class_layer(state)), first_corner(slide))
    assert {str(unit) for layer in state.viewer.layers for unit in layer.units} == {"micrometer"}
    np.testing.assert_allclose(ring_in_pixels(drawn, ring, state.placing()), ring)
    assert (eye.center, eye.zoom) == ((0, 25.0, 50.0), 8.0)
    facts = state.slide()
    assert facts is not None
    assert facts.spacing == Spacing(0.25, 0.25)


def test_a_slide_that_another_reader_opened_in_pixels_moves_below_its_run(
    viewer: ViewerModel, small_slide: Path, own_run: ShownRun
) -> None:
    with layer_source(path=str(small_slide)):
        picture = viewer.add_image(np.zeros((150, 200, 3), np.uint8), rgb=True)
    state = ViewerState(viewer)
    state.show(own_run)
    assert picture.scale.tolist() == [1, 1], "half the pixels, each twice 0.5 µm wide"
    assert [str(unit) for unit in picture.units] == ["micrometer"] * 2
    np.testing.assert_allclose(first_corner(class_layer(state)), first_corner(picture))


def test_only_the_tissue_in_the_view_is_classified(
    small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    region = Region(view=Box(0, 0, 200, 300))
    done = list(RunJob(request(small_slide, tiny_bundle, tmp_path, region)).updates())[-1]
    assert isinstance(done, Ended)
    assert done.run is not None
    boxes = done.run.table.boxes
    assert len(boxes)
    assert (boxes[:, 0] < 200).all()
    assert done.run.stored.tissue is not None
    everything = within(done.run.stored.tissue, Box(0, 0, 400, 300))
    np.testing.assert_array_equal(everything.mask, done.run.stored.tissue.mask)
    nothing = Region(view=Box(0, 0, 10, 10))
    with pytest.raises(UsageError, match="There is no tissue in the current view"):
        list(RunJob(request(small_slide, tiny_bundle, tmp_path / "none", nothing)).updates())


def test_regions_have_names_of_their_own() -> None:
    ring = np.array([[0, 0], [10, 0], [10, 10.0]])
    assert Region(areas=((ring,),)).name == Region(areas=((ring.copy(),),)).name
    assert Region(areas=((ring,),)).name != Region(areas=((ring + 1,),)).name


def test_a_figure_shows_the_part_of_the_canvas_that_the_slide_is_on(
    state: ViewerState, own_run: ShownRun, tmp_path: Path
) -> None:
    state.show(own_run)
    camera(state.viewer).center = (0.0, 74.75, 99.75)
    camera(state.viewer).zoom = 2.0
    rows, columns = slide_part(state, (800, 600), 2.0)
    assert (rows, columns) == (slice(250, 550), slice(100, 500)), (
        "400 x 300 px at 0.5 µm, twice enlarged"
    )
    write_view(tmp_path / "view.png", np.full((800, 600, 3), 200, np.uint8), state)
    assert (tmp_path / "view.png").stat().st_size > 1000
    camera(state.viewer).center = (0.0, 9e6, 9e6)
    assert slide_part(state, (800, 600), 2.0) == (slice(None), slice(None))
