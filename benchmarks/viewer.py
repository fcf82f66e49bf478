"""The viewer under load.

100,000 tiles added and updated, how long its window stands still while a model runs, and for how
long each thing that a pathologist does holds it.

    xvfb-run -a -s "-screen 0 1400x1000x24" python benchmarks/viewer.py

Without a graphics card, Mesa draws on the same cores that classify: the figures are then of the
worst case.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari.layers import Layer
from qtpy.QtCore import QEventLoop, QTimer
from qtpy.QtWidgets import QApplication

from slidecam.classes import ClassSet
from slidecam.geometry import Size
from slidecam.plugin.live import LiveOverlays
from slidecam.plugin.loading import is_loaded
from slidecam.plugin.open_run import ShownRun
from slidecam.plugin.overlays import class_layer, probability_layer
from slidecam.plugin.placing import CellGrid
from slidecam.plugin.tools import Tool
from slidecam.runs import Run, RunRecord
from slidecam.runs.record_parts import RecordedBundle, RecordedInput
from slidecam.runs.tiles import TileTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TILES = 100_000
STEP = 224
BATCH = 256
REPEATS = 20
TICK_MS = 5
SAMPLE = Path(__file__).resolve().parents[1] / "sample_data"


def made_up_run(tiles: int, folder: Path) -> Any:
    """Return a run of so many tiles of three classes that was never run."""
    columns = int(np.ceil(np.sqrt(tiles)))
    rows, across = np.divmod(np.arange(tiles), columns)
    boxes = np.stack(
        [across * STEP, rows * STEP, np.full(tiles, STEP), np.full(tiles, STEP)], axis=1
    ).astype(np.int64)
    chances = np.random.default_rng(0).dirichlet((1, 1, 1), tiles).astype(np.float32)
    colors = ((84, 70, 190), (222, 128, 58), (196, 30, 70))
    classes = ClassSet(("a", "b", "c"), "softmax", colors)
    table = TileTable(boxes, np.ones(tiles, np.uint8), chances, classes)
    size = Size(columns * STEP, columns * STEP)
    record = RunRecord(RecordedInput("made-up", size=size), RecordedBundle("made-up"))
    stored = Run(folder, record, table, chances, STEP, {"µm/px": [0.25, 0.25]})
    return ShownRun(stored, CellGrid(boxes, (STEP, STEP)), with_heatmaps=False)


def drawn(viewer: Any) -> None:
    """Let Qt draw all that is to be drawn."""
    viewer.window._qt_viewer.canvas.native.repaint()
    QApplication.processEvents()


def overlays(viewer: Any, tiles: int) -> dict[str, float]:
    """Return seconds to add the overlays of so many tiles, and to show one more batch.

    Drawing is included or not.
    """
    run = made_up_run(tiles, Path("made-up"))
    empty = run.with_table(replace(run.table, status=np.zeros(tiles, np.uint8)))
    start = time.perf_counter()
    layers, each = [], []
    made = [class_layer(empty), *(probability_layer(empty, name) for name in run.table.class_names)]
    for told in made:
        begun = time.perf_counter()
        layers.append(Layer.create(*told))
        viewer.add_layer(layers[-1])
        each.append(time.perf_counter() - begun)
    added = time.perf_counter() - start
    drawn(viewer)
    live, updates, draws = LiveOverlays(run, layers[0]), [], []
    live.watch(layers[1:])
    for number in range(REPEATS):
        rows = slice(number * BATCH, (number + 1) * BATCH)
        start = time.perf_counter()
        live.add(run.table.boxes[rows], run.table.probabilities[rows], 0.0)
        updates.append(time.perf_counter() - start)
        drawn(viewer)
        draws.append(time.perf_counter() - start)
    for layer in layers:
        viewer.layers.remove(layer)
    return {
        "all 4 overlays added, s": added,
        "one overlay added, s": float(np.median(each)),
        "one update, ms": 1000 * float(np.median(updates)),
        "worst update, ms": 1000 * max(updates),
        "update and drawing, ms": 1000 * float(np.median(draws)),
    }


def stalls(viewer: Any, overlap: float) -> dict[str, float]:
    """Return how late a timer of the window's thread was while the sample slide was classified.

    The slide is classified beside the window.
    """
    viewer.open_sample("slidecam", "slide")
    _dock, widget = viewer.window.add_plugin_dock_widget("slidecam", "Predict & explain")
    classify, late, last = widget.classify, [], [time.perf_counter()]

    def tick() -> None:
        now = time.perf_counter()
        late.append(now - last[0] - TICK_MS / 1000)
        last[0] = now

    timer = QTimer()
    timer.setInterval(TICK_MS)
    timer.timeout.connect(tick)
    with tempfile.TemporaryDirectory() as folder:
        classify.out.setText(folder)
        classify.bundle.setCurrentText(str(SAMPLE / "bundle"))
        classify.options["overlap"].widget.setValue(overlap)
        classify.run.click()
        while classify.progress.value() == 0 and classify.job is not None:
            QApplication.processEvents()
        late.clear()
        last[0] = time.perf_counter()
        timer.start()
        began = time.perf_counter()
        loop = QEventLoop()
        classify.worker.finished.connect(loop.quit)
        loop.exec()
        seconds = time.perf_counter() - began
        timer.stop()
        tiles = len(widget.state.run.table)
        widget.release()
    waits = 1000 * np.maximum(np.array(late), 0)
    return {
        "tiles/s beside the viewer": tiles / seconds,
        "stall, median ms": float(np.median(waits)),
        "stall, 99th percentile ms": float(np.percentile(waits, 99)),
        "longest stall, ms": float(waits.max()),
    }


@dataclass
class Watch:
    """Looks at the window's thread from a timer in it.

    Attributes
    ----------
    rows
        Of each thing that was done: seconds until it was seen, the processor's seconds in the
        window's thread, the longest of them at a stretch, and the longest time without an event.
    """

    rows: dict[str, tuple[float, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._timer = QTimer()
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._begin()

    def _begin(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.thread_time()
        self._gap = self._stretch = 0.0

    def _tick(self) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        self._gap = max(self._gap, wall - self._wall)
        self._stretch = max(self._stretch, cpu - self._cpu)
        self._wall, self._cpu = wall, cpu

    @contextmanager
    def during(self, what: str) -> Iterator[None]:
        """Take the times of one thing, until the window has drawn it."""
        QApplication.processEvents()
        self._begin()
        self._timer.start()
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        QApplication.processEvents()
        self._tick()
        self._timer.stop()
        spent = time.perf_counter() - wall, time.thread_time() - cpu
        self.rows[what] = (*spent, 1000 * self._stretch, 1000 * self._gap)


def wait(condition: Callable[[], object]) -> None:
    """Let Qt work until something is so."""
    while not condition():
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, TICK_MS)
        time.sleep(TICK_MS / 1000)


def a_visit(viewer: Any, folder: str) -> dict[str, tuple[float, ...]]:
    """Return what each thing costs that is done from the opening of a slide to a closed window."""
    watch = Watch()
    with watch.during("open a slide"):
        viewer.open_sample("slidecam", "slide")
    with watch.during("open the dock"):
        _dock, widget = viewer.window.add_plugin_dock_widget("slidecam", "Predict & explain")
    classify, read = widget.classify, widget.read
    classify.out.setText(folder)
    with watch.during("load torch beside it"):
        wait(is_loaded)
    with watch.during("choose a model"):
        classify.bundle.setCurrentText(str(SAMPLE / "bundle"))
    with watch.during("run it"):
        classify.run.click()
        wait(lambda: classify.job is None)
    with watch.during("look at a tile"):
        widget.state.select(5)
    with watch.during("show heat"):
        read.layer.setCurrentIndex(read.layer.count() - 1)
    with watch.during("next likely tile"):
        read.next.click()
    with watch.during("explain it"):
        read.close_up.button.click()
        wait(lambda: read.close_up.worker is None)
    with watch.during("draw an area"):
        widget.teach.take(Tool.DRAW)
    with watch.during("what to annotate next"):
        widget.teach.suggest.click()
    classify.options["existing"].widget.setChecked(True)
    classify.run.click()
    wait(lambda: 0 < classify.progress.value() < classify.progress.maximum())
    worker = classify.worker
    with watch.during("close the window in mid-run"):
        viewer.close()
        wait(lambda: not worker.is_running)
    return watch.rows


def shown_viewer() -> Any:
    """Return a viewer whose window has been drawn."""
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1200, 800)
    QApplication.processEvents()
    return viewer


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tiles", type=int, default=TILES)
    parser.add_argument(
        "--overlap",
        type=float,
        default=0.5,
        help="of the sample slide's tiles while stalls are taken",
    )
    parser.add_argument("--visit", action="store_true", help="only what each thing done costs")
    chosen = parser.parse_args()
    print(f"napari {napari.__version__}, {platform.machine()}, {platform.system()}")
    # First, since what is loaded by then is loaded for all.
    with tempfile.TemporaryDirectory() as folder:
        visit = a_visit(shown_viewer(), folder)
    print(f"{'':28s} {'seen, s':>8s} {'cpu, s':>8s} {'at once, ms':>12s} {'gap, ms':>8s}")
    for what, (wall, cpu, stretch, gap) in visit.items():
        print(f"{what:28s} {wall:8.2f} {cpu:8.2f} {stretch:12.0f} {gap:8.0f}", flush=True)
    if chosen.visit:
        return
    viewer = shown_viewer()
    overlays(viewer, 1000)
    print(f"{chosen.tiles:,} tiles")
    for figures in (overlays(viewer, chosen.tiles), stalls(viewer, chosen.overlap)):
        for name, value in figures.items():
            print(f"{name:28s} {value:8.3g}", flush=True)
    viewer.close()


if __name__ == "__main__":
    main()
