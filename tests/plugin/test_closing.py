"""The window is closed in the middle of a run: the run stops, and goes on by the other door."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from napari._qt.dialogs.confirm_close_dialog import ConfirmCloseDialog
from napari.layers import Layer
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QCloseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialog, QLabel, QMessageBox

from slidecam.plugin.dock import PredictAndExplain
from slidecam.plugin.slide import slide_layer
from slidecam.prediction import outputs
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec
from slidecam.store import RunStore
from stopping import Gate, gate_before
from windows import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.gui]


class Clicked(QCloseEvent):
    """The closing of a window as a person causes it."""

    def spontaneous(self) -> bool:
        return True


@pytest.fixture
def dock(
    make_napari_viewer: Any, small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> PredictAndExplain:
    viewer = make_napari_viewer(show=True)
    viewer.add_layer(Layer.create(*slide_layer(small_slide)[0]))
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    dock.classify.out.setText(str(tmp_path))
    dock.classify.bundle.setCurrentText(str(tiny_bundle))
    dock.classify.options["overlap"].widget.setValue(0.5)
    return dock


@pytest.fixture
def gate(dock: PredictAndExplain) -> Iterator[Gate]:
    """Hold the dock's run before its second commit."""
    with gate_before(RunStore, "commit", 2) as gate:
        dock.classify.run.click()
        until(gate.is_reached)
        yield gate
        gate.open()


def goes_on_from_the_command_line(slide: Path, bundle: Path, out: Path) -> bool:
    (folder,) = {path.parent for path in out.rglob("run.json")}
    store = RunStore.open(folder)
    before = int((store.status == 1).sum())
    assert 0 < before < len(store)
    spec = PredictSpec(overlap=0.5, device="cpu", existing="resume", workers=1)
    for _event in predict(slide, bundle, folder.parent, spec):
        pass
    return bool(np.all(RunStore.open(folder).status == 1))


def stopping(window: Any, seen: list[bool]) -> Callable[[], None]:
    """Write down whether a window is seen when napari begins to stop its threads."""
    stop = window._stop_worker_threads

    def stop_and_look() -> None:
        seen.append(window.isVisible())
        stop()

    return stop_and_look


def answered(button: QMessageBox.StandardButton) -> list[str]:
    """Answer the question that is put next; return its words, once they were read."""
    read: list[str] = []

    def answer() -> None:
        box = QApplication.activeModalWidget()
        if isinstance(box, QMessageBox):
            read.append(box.text())
            box.button(button).click()
        else:
            QTimer.singleShot(20, answer)

    QTimer.singleShot(20, answer)
    return read


def test_a_window_that_a_person_closes_asks_once_and_stops_the_run(
    dock: PredictAndExplain, gate: Gate, small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    window, worker = dock.state.viewer.window._qt_window, dock.classify.worker
    kept = answered(QMessageBox.StandardButton.Cancel)
    QApplication.sendEvent(window, Clicked())
    assert window.isVisible()
    assert dock.classify.job is not None
    assert not dock.classify.job.is_to_stop
    assert "A run of small goes on" in kept[0]
    assert "--resume" in kept[0]
    closed = answered(QMessageBox.StandardButton.Close)
    QApplication.sendEvent(window, Clicked())
    assert (len(kept), len(closed)) == (1, 1)
    assert not window.isVisible()
    # Qt has deleted it: napari's fixture has nothing to close any more.
    del dock.state.viewer.window._qt_window, window
    gate.open()
    until(lambda: not worker.is_running)
    assert goes_on_from_the_command_line(small_slide, tiny_bundle, tmp_path)


def test_a_viewer_that_a_script_closes_stops_the_run_without_a_question(
    dock: PredictAndExplain, gate: Gate, small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    worker, window = dock.classify.worker, dock.state.viewer.window._qt_window
    seen: list[bool] = []
    # What napari does first when it closes; what it waits for comes later, and nobody watches.
    window._stop_worker_threads = stopping(window, seen)
    dock.state.viewer.close()
    assert seen == [False]
    gate.open()
    until(lambda: not worker.is_running)
    assert goes_on_from_the_command_line(small_slide, tiny_bundle, tmp_path)


def test_a_dock_that_is_closed_stops_its_run_in_words_and_another_dock_goes_on_with_it(
    dock: PredictAndExplain, gate: Gate, notices: list[str]
) -> None:
    viewer, worker = dock.state.viewer, dock.classify.worker
    placed = dock.parentWidget()
    QTest.mouseClick(placed.title.close_button, Qt.MouseButton.LeftButton)
    assert notices[-1].startswith("The run was stopped with the dock.")
    gate.open()
    until(lambda: not worker.is_running)
    dock.deleteLater()
    another = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(another)
    assert "Run goes on with it" in another.classify.status.text()
    another.classify.options["overlap"].widget.setValue(0.5)
    another.classify.run.click()
    until(lambda: another.classify.job is None)
    assert another.state.run is not None
    assert another.state.run.is_finished


def test_an_error_after_the_window_has_closed_ends_the_run_and_loses_nothing(
    dock: PredictAndExplain,
    small_slide: Path,
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails_later(store: RunStore, *given: Any) -> None:
        if next(calls):
            gate.hold()
            raise OSError("the share is gone")
        commit(store, *given)

    gate, commit, calls = Gate(), RunStore.commit, count(0)
    with monkeypatch.context() as broken:
        broken.setattr(RunStore, "commit", fails_later)
        dock.classify.run.click()
        until(gate.is_reached)
        worker = dock.classify.worker
        dock.state.viewer.close()
        gate.open()
        until(lambda: not worker.is_running)
    assert goes_on_from_the_command_line(small_slide, tiny_bundle, tmp_path)


def test_what_is_written_at_the_end_of_a_run_is_said_to_be_written_on(
    dock: PredictAndExplain,
) -> None:
    with gate_before(outputs, "finish_slide", 1) as gate:
        dock.classify.run.click()
        until(gate.is_reached)
        until(lambda: "Painting heatmaps" in dock.classify.status.text())
        assert "written to the end" in dock.going_on()
        gate.open()
        until(lambda: dock.classify.job is None)
    assert dock.going_on() == ""


def test_a_worker_that_is_to_quit_stops_its_run_before_the_next_batch(
    dock: PredictAndExplain, gate: Gate, small_slide: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    worker = dock.classify.worker
    worker.quit()
    gate.open()
    until(lambda: not worker.is_running)
    until(lambda: dock.classify.job is None)
    assert goes_on_from_the_command_line(small_slide, tiny_bundle, tmp_path)


def test_naparis_own_question_says_what_goes_on(dock: PredictAndExplain, gate: Gate) -> None:
    window = dock.state.viewer.window._qt_window
    read: list[str] = []

    def look() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QDialog):
            QTimer.singleShot(20, look)
            return
        read.extend(label.text() for label in box.findChildren(QLabel))
        box.reject()

    QTimer.singleShot(20, look)
    ConfirmCloseDialog(window, close_app=True).exec()
    assert any("A run of small goes on" in words for words in read)
    dock.classify.cancel.click()
    gate.open()
    until(lambda: dock.classify.job is None)
