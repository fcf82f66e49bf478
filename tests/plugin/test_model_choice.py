"""A large model is read beside the window, and what waits for it begins when it is there."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.models import open_bundle
from slidecam.plugin import model_choice
from slidecam.plugin.dock import PredictAndExplain
from stopping import gate_before
from windows import until

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.gui]


def test_a_large_model_is_read_beside_the_window(
    make_napari_viewer: Any, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def noted(folder: Path) -> Any:
        threads.append(threading.current_thread())
        return open_bundle(folder)

    monkeypatch.setattr(model_choice, "open_bundle", noted)
    monkeypatch.setattr(model_choice, "AT_ONCE", 0)
    dock = PredictAndExplain(make_napari_viewer())
    tab, begun = dock.classify, []
    with gate_before(model_choice, "read_model", 1) as gate:
        tab.bundle.setCurrentText(str(tiny_bundle))
        assert tab.about.text() == model_choice.READING
        assert tab.card is None
        assert not tab.cohort.button.isEnabled()
        tab.model.when_read(lambda: begun.append(tab.card))
        assert begun == []
        gate.open()
    until(lambda: tab.card is not None)
    assert "tiny" in tab.about.text()
    assert begun == [tab.card]
    assert threading.main_thread() not in threads
    dock.release()
    dock.deleteLater()


def test_a_model_that_was_left_for_another_meanwhile_is_not_taken(
    make_napari_viewer: Any, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_choice, "AT_ONCE", 0)
    dock = PredictAndExplain(make_napari_viewer())
    tab = dock.classify
    with gate_before(model_choice, "read_model", 1) as gate:
        tab.bundle.setCurrentText(str(tiny_bundle))
        late = tab.model.worker
        ended: list[bool] = []
        late.finished.connect(lambda: ended.append(True))
        tab.bundle.setCurrentText(str(tmp_path / "nothing"))
        gate.open()
        until(lambda: ended)
    assert tab.card is None
    assert "There is no folder" in tab.about.text()
    dock.release()
    dock.deleteLater()
