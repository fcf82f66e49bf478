"""Teaching: what is drawn, painted and corrected in the viewer is what the engine is told."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari.layers import Layer

from slidecam.errors import UsageError
from slidecam.exchange.geojson import write_annotations
from slidecam.plugin.lesson import CORRECTED, DRAWN, PAINTED, Lesson
from slidecam.plugin.lesson_text import counts_told
from slidecam.plugin.open_run import read_shown
from slidecam.plugin.reading import get_reader
from slidecam.plugin.slide import slide_layer
from slidecam.plugin.viewer_state import Desk
from slidecam.teaching import Annotation, Corrections

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from slidecam.plugin.open_run import ShownRun


@pytest.fixture
def lesson(viewer: ViewerModel, small_slide: Path, own_run: ShownRun) -> Lesson:
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    desk = Desk(viewer)
    desk.show(own_run)
    return Lesson(desk)


def test_without_a_run_there_is_nothing_to_teach(viewer: ViewerModel) -> None:
    with pytest.raises(UsageError, match="no result is shown"):
        Lesson(Desk(viewer)).classes  # noqa: B018  (the property raises)


def test_areas_are_of_the_class_that_was_chosen_and_in_level_0_pixels(lesson: Lesson) -> None:
    layer = lesson.draw("B")
    ring = np.array([[50.0, 60], [50, 160], [120, 160], [120, 60]])
    layer.add(ring, shape_type="polygon")
    lesson.draw("D")
    layer.add(ring + 100, shape_type="rectangle")
    first, second = lesson.annotations()
    assert (first.class_name, second.class_name) == ("B", "D")
    np.testing.assert_allclose(first.area[0], ring[:, ::-1])
    assert first.color == lesson.classes["B"]
    assert list(lesson.classes) == ["A", "B", "C", "D"]
    np.testing.assert_allclose(
        layer.edge_color[0][:3], np.array(lesson.classes["B"]) / 255, atol=1e-6
    )
    assert lesson.desk.viewer.layers.selection.active.name == DRAWN


def test_what_is_painted_covers_the_pixels_that_were_painted(lesson: Lesson) -> None:
    layer = lesson.paint("C")
    assert layer.selected_label == 3
    layer.data[40:60, 100:150] = 3
    (painted,) = lesson.annotations()
    assert painted.class_name == "C"
    low, high = painted.area[0].min(axis=0), painted.area[0].max(axis=0)
    assert [low.tolist(), high.tolist()] == [[100, 40], [150, 60]]
    assert PAINTED in [one.name for one in lesson.desk.viewer.layers]


def test_a_click_corrects_a_tile_on_disk_and_the_same_click_takes_it_back(lesson: Lesson) -> None:
    lesson.correct(3, "A")
    lesson.correct(5, "new")
    assert dict(Corrections.open(lesson.run.stored).labels) == {3: "A", 5: "new"}
    raster = lesson.desk.viewer.layers[CORRECTED].data
    assert raster[tuple(places[3] for places in lesson.run.cells.places)] == 1
    assert raster[tuple(places[5] for places in lesson.run.cells.places)] == 4
    lesson.correct(3, "A")
    lesson.undo()
    lesson.undo()
    assert dict(Corrections.open(lesson.run.stored).labels) == {3: "A"}


def test_areas_opened_from_a_file_teach_too_and_those_of_another_slide_do_not(
    lesson: Lesson, write_slide: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = lesson.desk.viewer
    monkeypatch.setattr("napari.current_viewer", lambda: viewer)
    ring = np.array([[10.0, 20], [50, 20], [50, 80]])
    write_annotations(tmp_path / "from-qupath.geojson", [Annotation("B", (ring,), None)])

    reader = get_reader(str(tmp_path / "from-qupath.geojson"))
    assert reader is not None
    viewer.add_layer(Layer.create(*reader(str(tmp_path / "from-qupath.geojson"))[0]))
    (area,) = lesson.annotations()
    assert area.class_name == "B"
    np.testing.assert_allclose(area.area[0], ring)
    viewer.add_layer(Layer.create(*slide_layer(write_slide(tmp_path / "other.tif", 200, 100))[0]))
    viewer.add_layer(Layer.create(*reader(str(tmp_path / "from-qupath.geojson"))[0]))
    assert len(lesson.annotations()) == 1, "what was opened on the other slide is said of that one"


def test_corrections_go_along_to_the_new_models_run_of_the_same_tiles(
    lesson: Lesson, small_out: Path, tmp_path: Path
) -> None:
    lesson.correct(3, "A")
    lesson.correct(5, "new")
    before = lesson.run.stored
    shutil.copytree(small_out, tmp_path / "again")
    lesson.desk.show(read_shown(tmp_path / "again" / "small"))
    lesson.carry(before)
    assert dict(lesson.corrections.labels) == {3: "A", 5: "new"}
    lesson.correct(3, "A")
    lesson.carry(before)
    assert dict(lesson.corrections.labels) == {5: "new"}, (
        "what was taken back there is not brought again"
    )


def test_what_was_said_is_counted(lesson: Lesson) -> None:
    assert counts_told((), lesson.corrections) == "Said so far: nothing."
    lesson.draw("B").add(np.array([[50.0, 60], [50, 160], [120, 160]]), shape_type="polygon")
    lesson.correct(1, "C")
    assert (
        counts_told(lesson.annotations(), lesson.corrections)
        == "Said so far: 1 area of B, 1 corrected to C."
    )
