"""What takes seconds to load is loaded beside the window, in words, and ends with it."""

from __future__ import annotations

import gc
from threading import Event, current_thread, main_thread
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.plugin import loading
from slidecam.plugin.dock import PredictAndExplain
from stopping import PATIENCE
from windows import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slidecam.steps import Step


class Libraries:
    """Stands for what is imported: each waits until it may go on."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.threads: list[Any] = []
        self.may_go_on = Event()

    def take(self, name: str) -> None:
        self.names.append(name)
        self.threads.append(current_thread())
        assert self.may_go_on.wait(PATIENCE)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> Iterator[Libraries]:
    slow = Libraries()
    monkeypatch.setattr("slidecam.plugin.dock.is_loaded", lambda: False)
    monkeypatch.setattr(loading, "import_module", slow.take)
    for name in ("compile_colors", "compile_areas"):
        monkeypatch.setattr(loading, name, lambda: None)
    monkeypatch.setattr("atexit.register", lambda _function: None)
    yield slow
    slow.may_go_on.set()


@pytest.mark.gui
def test_what_classifiers_need_is_loaded_beside_the_window_and_said_meanwhile(
    make_napari_viewer: Any, libraries: Libraries
) -> None:
    viewer = make_napari_viewer(show=True)
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    until(lambda: libraries.names)
    status = dock.classify.status
    until(lambda: status.text() == "Loading what classifiers need: 1 of 10")
    assert dock.going_on() == "", "nobody is asked whether it may be stopped"
    libraries.may_go_on.set()
    until(lambda: not dock.loader.is_running and not status.text())
    assert tuple(libraries.names) == loading.LIBRARIES
    assert main_thread() not in libraries.threads


@pytest.mark.gui
def test_loading_ends_with_the_library_at_hand_when_the_window_is_closed(
    make_napari_viewer: Any, libraries: Libraries
) -> None:
    viewer = make_napari_viewer(show=True)
    dock = PredictAndExplain(viewer)
    viewer.window.add_dock_widget(dock)
    until(lambda: libraries.names)
    loader = dock.loader
    viewer.close()
    libraries.may_go_on.set()
    until(lambda: not loader.is_running)
    assert tuple(libraries.names) == loading.LIBRARIES[:1]


def steps_of_loading(monkeypatch: pytest.MonkeyPatch, at_the_end: list[Any]) -> list[Step]:
    monkeypatch.setattr("atexit.register", at_the_end.append)
    return list(loading.load_libraries())


def test_a_library_that_is_broken_is_left_to_who_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(loading, "import_module", broken)
    at_the_end: list[Any] = []
    steps = steps_of_loading(monkeypatch, at_the_end)
    assert [step.done for step in steps] == [0, 1]
    assert at_the_end == [gc.freeze], "torch is not taken apart at the end of the process"


def test_all_of_it_is_loaded_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = steps_of_loading(monkeypatch, [])
    assert len(steps) == steps[-1].total == len(loading.LIBRARIES) + 2
    assert loading.is_loaded()
