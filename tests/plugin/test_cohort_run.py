"""Several slides in turn: one progress, one end, and those that failed by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from napari.layers import Layer

from slidecam.plugin.classify_form import VIEW
from slidecam.plugin.cohort_job import CohortEnded, CohortJob, CohortStep
from slidecam.plugin.cohort_run import WHOLE
from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.open_run import read_shown
from slidecam.plugin.slide import slide_layer
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore
from stopping import gate_before
from windows import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SPEC = PredictSpec(batch=4, workers=1, device="cpu", existing="resume", heatmap="none")


@pytest.fixture
def folder(tmp_path: Path, write_slide: Callable[..., Path]) -> Path:
    """Return a folder of two slides and a file that is none."""
    made = tmp_path / "slides"
    made.mkdir()
    for number, name in enumerate(("first", "second")):
        write_slide(made / f"{name}.tif", 400, 300, seed=number)
    (made / "broken.tif").write_text("no slide")
    return made


def test_a_call_of_several_slides_goes_on_behind_one_that_fails(
    folder: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    job = CohortJob([str(folder)], tiny_bundle, tmp_path / "out", SPEC)
    *steps, ended = job.updates()
    assert isinstance(ended, CohortEnded)
    assert (ended.slides, ended.finished, ended.stopped) == (3, ("first", "second"), False)
    ((name, problem),) = ended.failed
    assert name == "broken"
    assert ended.in_words.startswith("Done: 2 of 3 slides are classified. 1 failed: broken (")
    assert problem.rstrip(".") in ended.in_words
    begun = [step for step in steps if isinstance(step, CohortStep)]
    assert {step.slide for step in begun} == {"first", "second"}
    assert all(step.slides == 3 for step in begun)
    for one in ended.finished:
        assert read_shown(tmp_path / "out" / one).is_finished


def test_what_keeps_all_of_them_from_being_classified_is_said(folder: Path, tmp_path: Path) -> None:
    (ended,) = CohortJob([str(folder)], tmp_path / "none", tmp_path / "out", SPEC).updates()
    assert isinstance(ended, CohortEnded)
    assert "is not a folder" in ended.in_words


def opened(viewer: Any, folder: Path) -> list[Any]:
    """Open both slides, and return their layers."""
    read = [slide_layer(folder / f"{name}.tif")[0] for name in ("first", "second")]
    return [viewer.add_layer(Layer.create(*one)) for one in read]


@pytest.mark.gui
def test_all_open_slides_are_run_stopped_and_gone_on_with(
    make_napari_viewer: Any,
    folder: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    notices: list[str],
) -> None:
    viewer = make_napari_viewer()
    first, second = opened(viewer, folder)
    dock = PredictAndExplain(viewer)
    tab = dock.classify
    tab.out.setText(str(tmp_path / "out"))
    assert not tab.cohort.button.isEnabled(), "no model is chosen yet"
    tab.bundle.setCurrentText(str(tiny_bundle))
    with gate_before(RunStore, "commit", 2) as gate:
        tab.cohort.all_open.trigger()
        until(gate.is_reached)
        assert not tab.run.isEnabled()
        assert "Several slides are classified" in dock.going_on()
        until(lambda: "of 2" in tab.progress.format())
        tab.cancel.click()
        gate.open()
        until(lambda: tab.busy is None)
    assert tab.status.text().startswith("Stopped: 0 of 2 slides are classified")
    tab.cohort.all_open.trigger()
    until(lambda: tab.busy is None)
    assert tab.status.text().startswith("Done: 2 of 2 slides are classified")
    for layer in (first, second):
        viewer.layers.selection.active = layer
        assert dock.state.run is not None
        assert dock.state.run.folder.name == layer.name
    assert notices == []
    dock.release()
    dock.deleteLater()


@pytest.mark.gui
def test_a_folder_is_run_with_nothing_open_and_failures_are_said_at_the_end(
    make_napari_viewer: Any,
    folder: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    notices: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    viewer = make_napari_viewer()
    dock = PredictAndExplain(viewer)
    tab = dock.classify
    tab.out.setText(str(tmp_path / "out"))
    tab.bundle.setCurrentText(str(tiny_bundle))
    assert not tab.cohort.all_open.isEnabled()
    monkeypatch.setattr(
        "slidecam.plugin.cohort_run.QFileDialog.getExistingDirectory", lambda *_given: str(folder)
    )
    tab.cohort.folder.trigger()
    until(lambda: tab.busy is None)
    assert "1 failed: broken (" in tab.status.text()
    assert notices[-1].startswith("1 of 3 slides failed: broken ("), "the reason first"
    dock.release()
    dock.deleteLater()


@pytest.mark.gui
def test_a_typed_spacing_goes_with_its_own_slide_alone(
    make_napari_viewer: Any,
    folder: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    notices: list[str],
) -> None:
    viewer = make_napari_viewer()
    first, second = opened(viewer, folder)
    dock = PredictAndExplain(viewer)
    tab = dock.classify
    tab.out.setText(str(tmp_path / "out"))
    tab.bundle.setCurrentText(str(tiny_bundle))
    viewer.layers.selection.active = first
    tab.options["mpp"].widget.setValue(0.25)
    viewer.layers.selection.active = second
    tab.region.setCurrentText(VIEW)
    tab.cohort.all_open.trigger()
    until(lambda: tab.busy is None)
    assert notices == [WHOLE]
    runs = [read_shown(path.parent) for path in sorted((tmp_path / "out").rglob("run.json"))]
    spacings = {run.folder.name: run.spacing for run in runs}
    assert spacings["first"] is not None
    assert spacings["second"] is not None
    assert (spacings["first"].mean, spacings["second"].mean) == (0.25, 0.5)
    dock.release()
    dock.deleteLater()
