"""Viewers and runs for the tests of the plugin.

napari's pytest plugin is switched off, since it loads all of napari before the first test of any
room; its fixtures are taken here by name.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

with warnings.catch_warnings():
    # While they load, the libraries between napari and the screen warn of each other; and errors
    # they would be here.
    warnings.simplefilter("ignore")
    import npe2  # noqa: F401
    from napari.components import ViewerModel
    from napari.utils._testsupport import (  # noqa: F401  (fixtures and a hook, by their names)
        _disable_qt_warnings,
        make_napari_viewer,
        make_napari_viewer_proxy,
        mock_app_model,
        pytest_runtest_makereport,
    )
    from qtpy.QtCore import QSettings
    from qtpy.QtWidgets import QApplication

    import slidecam.plugin.dock  # noqa: F401

from slidecam.plugin.open_run import ShownRun, read_shown
from slidecam.prediction.pipeline import predict
from slidecam.runs.spec import PredictSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THEIRS = (
    "ignore::DeprecationWarning:(napari|npe2|app_model|vispy|magicgui|superqt|in_n_out|qtpy|pydantic|psygnal).*",
    "ignore::FutureWarning:(napari|npe2|vispy|superqt).*",
    "ignore::ResourceWarning",
    "ignore:.*Pydantic.*:DeprecationWarning",
    "ignore:.*tkinter.*:UserWarning",
)
"""Warnings of the libraries between napari and the screen, about themselves. Ours stay errors."""

REQUIRED = "SLIDECAM_REQUIRE_GUI"
"""Set in CI: there a test that cannot open a window is a failure and no skip."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out the warnings of others in this folder, and skip screen tests without a screen."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            for rule in THEIRS:
                item.add_marker(pytest.mark.filterwarnings(rule))
            if item.get_closest_marker("gui") and not _has_screen():
                item.add_marker(
                    pytest.mark.skip(reason="no screen: run it under xvfb-run (make test does)")
                )


def _has_screen() -> bool:
    there = sys.platform != "linux" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    )
    if not there and os.environ.get(REQUIRED):
        pytest.exit(f"{REQUIRED} is set and there is no screen", returncode=1)
    return there


@pytest.fixture(autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep napari and the dock away from the settings of whoever runs the tests."""
    monkeypatch.setenv("NAPARI_CONFIG", str(tmp_path_factory.getbasetemp() / "napari.yaml"))
    ini, user = QSettings.Format.IniFormat, QSettings.Scope.UserScope
    QSettings.setPath(ini, user, str(tmp_path_factory.mktemp("settings")))


class Window:
    """What napari's fixture for viewers needs of pytest-qt.

    That plugin would load Qt before the tests of every room.
    """

    def wait_exposed(self, window: Any, timeout: int) -> None:
        """Wait until a window is on the screen."""
        end = time.monotonic() + timeout / 1000
        while not window.isVisible() and time.monotonic() < end:
            QApplication.processEvents()


@pytest.fixture
def qtbot(monkeypatch: pytest.MonkeyPatch) -> Iterator[Window]:
    """Fail where an error was raised in one of Qt's slots.

    Nobody else would hear of it, or all would end at once.
    """
    raised: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda _kind, error, _trace: raised.append(error))
    yield Window()
    assert raised == []


@pytest.fixture
def viewer() -> ViewerModel:
    """Return napari's viewer without a window."""
    return ViewerModel()


@pytest.fixture(scope="session")
def small_slide(tmp_path_factory: pytest.TempPathFactory, write_slide: Callable[..., Path]) -> Path:
    """Return a slide of 400 x 300 px."""
    return write_slide(tmp_path_factory.mktemp("plugin-slide") / "small.tif", 400, 300)


@pytest.fixture(scope="session")
def small_out(
    tmp_path_factory: pytest.TempPathFactory, small_slide: Path, tiny_bundle: Path
) -> Path:
    """Return the output folder of a run of it; tests that write take `own_run`."""
    out = tmp_path_factory.mktemp("plugin-run")
    for _event in predict(
        small_slide, tiny_bundle, out, PredictSpec(batch=4, workers=1, device="cpu")
    ):
        pass
    return out


@pytest.fixture
def small_run(small_out: Path) -> ShownRun:
    """Return a finished run, to be read."""
    return read_shown(small_out / "small")


@pytest.fixture
def own_run(small_out: Path, tmp_path: Path) -> ShownRun:
    """Return a finished run that a test may write to."""
    shutil.copytree(small_out, tmp_path / "own")
    return read_shown(tmp_path / "own" / "small")


@pytest.fixture
def volume(tmp_path: Path, write_volume: Any, head: Any) -> Path:
    """Return a small volume."""
    path: Path = write_volume.nifti(tmp_path / "brain.nii.gz", head)
    return path


@pytest.fixture
def volume_run(volume: Path, slice_bundle: Path, tmp_path: Path) -> Path:
    """Return the folder of a run of it."""
    for _event in predict(
        volume, slice_bundle, tmp_path / "out", PredictSpec(batch=4, workers=1, device="cpu")
    ):
        pass
    (folder,) = [path.parent for path in (tmp_path / "out").glob("*/run.json")]
    return folder


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the words that the user reads, as they come."""
    said: list[str] = []

    def show(words: str) -> None:
        said.append(words)

    for name in ("show_error", "show_info", "show_warning"):
        monkeypatch.setattr(f"slidecam.plugin.tasks.{name}", show)
    return said
