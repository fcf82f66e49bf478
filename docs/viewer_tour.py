"""Walk through the viewer as a person would, and take a picture at each step.

The pictures of the README.

    xvfb-run -a -s "-screen 0 1500x1000x24" python docs/viewer_tour.py --out docs/pictures

It opens a slide, runs a bundle, stops, goes on, flies to the most suspicious tile, explains it,
annotates, corrects, fine-tunes, runs the new model, compares, saves, and opens a volume; it fails
where a step does not come to its end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari
import numpy as np
from napari._qt.dialogs.qt_notification import NapariQtNotification
from PIL import Image
from qtpy.QtWidgets import QApplication

from slidecam.plugin.tools import Tool

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).resolve().parents[1]
REAL = HERE.parent / "shared" / "data" / "slides" / "CMU-1-Small-Region.svs"
SAMPLE = HERE / "sample_data" / "slide.tif"
VOLUME, VOLUME_BUNDLE = HERE / "sample_data" / "brain.nii.gz", HERE / "sample_data" / "mri-bundle"
WINDOW = (1400, 900)
COLORS = 256
OVERLAP = 0.5
STEPS = ("classify", "read", "teach", "save", "volume")
SECONDS = 900


class Tour:
    """A viewer with the dock, and the folder of its pictures."""

    def __init__(self, slide: Path, bundle: Path, pictures: Path) -> None:
        self.pictures, self.number = pictures, 0
        self.room = Path(tempfile.gettempdir()) / "slidecam-tour"
        shutil.rmtree(self.room, ignore_errors=True)
        self.results = self.room / "results"
        self.results.mkdir(parents=True)
        # Copies, so that no picture shows where things lie on this machine.
        slide, bundle = (
            Path(shutil.copy(slide, self.room)),
            Path(shutil.copytree(bundle, self.room / "bundle")),
        )
        self.viewer = napari.Viewer(show=True)
        self.viewer.window._qt_window.resize(*WINDOW)
        self.viewer.open(str(slide), plugin="slidecam")
        _dock, self.dock = self.viewer.window.add_plugin_dock_widget(
            "slidecam", "Predict & explain"
        )
        self.dock.classify.out.setText(str(self.results))
        self.bundle = bundle

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Let Qt work until something is so."""
        end = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(what)
            QApplication.processEvents()
            time.sleep(0.02)

    def picture(self, name: str) -> None:
        """Save the window as it is now."""
        self.number += 1
        for notice in self.viewer.window._qt_window.findChildren(NapariQtNotification):
            notice.close()
        end = time.monotonic() + 1.0
        self.until(lambda: time.monotonic() > end, name)
        window = np.asarray(self.viewer.screenshot(canvas_only=False, flash=False))[:, :, :3]
        path = self.pictures / f"viewer-{self.number}-{name}.png"
        _shrunk(Image.fromarray(window)).save(path, optimize=True)
        print(path.name, path.stat().st_size // 1000, "kB", flush=True)

    def tab(self, index: int) -> None:
        """Turn to one of the dock's tabs."""
        self.dock.tabs.setCurrentIndex(index)

    def classify(self) -> None:
        """Run, stop in the middle, go on."""
        tab = self.dock.classify
        tab.bundle.setCurrentText(str(self.bundle))
        tab.options["overlap"].widget.setValue(OVERLAP)
        self.picture("model")
        tab.run.click()
        self.until(lambda: tab.progress.value() > 0, "first tiles")
        tab.hold.click()
        self.picture("running")
        tab.cancel.click()
        self.until(lambda: tab.job is None, "stopping")
        print("stopped:", tab.status.text(), flush=True)
        if "Stopped" not in tab.status.text():
            raise AssertionError("it was over before it could be stopped")
        tab.run.click()
        self.until(lambda: tab.job is None, "the rest")
        print("went on:", tab.status.text(), flush=True)

    def read(self) -> None:
        """Legend, the most suspicious tile, and why."""
        self.tab(1)
        self.picture("result")
        read = self.dock.read
        read.next.click()
        start = time.monotonic()
        box = read.close_up
        box.button.click()
        self.until(lambda: box.worker is None and self.dock.explanation is not None, "explaining")
        print(f"explained in {time.monotonic() - start:.1f} s", flush=True)
        self.picture("why")

    def teach(self) -> None:
        """Draw two areas, correct two tiles, fine-tune, run again, compare."""
        self.dock.explanation.parentWidget().close()
        self.viewer.reset_view()
        self.tab(2)
        teach, state = self.dock.teach, self.dock.state
        boxes, names = state.run.table.boxes, state.run.table.class_names
        order = state.suspicious(names[-1])
        for name, row in ((names[0], order[-1]), (names[-1], order[0])):
            x, y, width, height = boxes[row].astype(float)
            teach.classes.setCurrentText(name)
            teach.hands[Tool.DRAW].click()
            ring = np.array(
                [[y, x], [y, x + 2 * width], [y + 2 * height, x + 2.4 * width], [y + 2 * height, x]]
            )
            teach.layers.draw(name).add(ring, shape_type="polygon")
        teach.hands[Tool.CORRECT].click()
        teach.classes.setCurrentText(names[0])
        for row in order[len(order) // 2 : len(order) // 2 + 3]:
            state.select(int(row))
        teach.hands[Tool.LOOK].click()
        teach.suggest.click()
        self.picture("teach")
        teach.export_to(self.results / "training")
        self.until(lambda: teach.worker is None, "exporting")
        start = time.monotonic()
        teach.tune.click()
        self.until(lambda: teach.worker is None, "fine-tuning")
        print(f"fine-tuned in {time.monotonic() - start:.1f} s:", teach.status.text(), flush=True)
        teach.again.click()
        self.until(lambda: self.dock.classify.job is None, "the new model's run")
        self.picture("compare")

    def save(self) -> None:
        """Write every kind of file; the figure is a picture of its own."""
        self.tab(3)
        for kind in ("geojson", "csv", "zarr"):
            self.dock.save.save(kind, str(self.results / f"saved.{kind}"))
        self.number += 1
        figure = self.pictures / f"viewer-{self.number}-figure.png"
        self.dock.save.save("png", str(figure))
        _shrunk(Image.open(figure).convert("RGB")).save(figure, optimize=True)
        print(sorted(path.name for path in self.results.glob("saved.*")), figure.name, flush=True)

    def volume(self) -> None:
        """Open the synthetic head, run its bundle over the slices, and turn to the likeliest."""
        self.viewer.layers.clear()
        tab = self.dock.classify
        self.tab(0)
        self.viewer.open(str(shutil.copy(VOLUME, self.room)), plugin="slidecam")
        tab.options["overlap"].widget.setValue(0)
        tab.bundle.setCurrentText(str(shutil.copytree(VOLUME_BUNDLE, self.room / "mri-bundle")))
        tab.run.click()
        self.until(lambda: tab.job is None, "the slices")
        plot = self.dock.profile.plot
        table = plot.profile.table
        plot.turn(plot.place_of(int(np.nanargmax(table.probabilities[:, -1])), 0).x())
        self.viewer.reset_view()
        self.picture("volume")

    def close(self) -> None:
        """Close the window."""
        self.dock.release()
        self.viewer.close()


def _shrunk(picture: Image.Image) -> Image.Image:
    """Return a picture of few colours.

    Those of the dock's small patches are kept beside those of the canvas.
    """
    wide, high = picture.size
    parts = ((0.7, 1.0, COLORS // 4), (0.26, 0.7, COLORS - COLORS // 4))
    palette: list[int] = []
    for left, right, colors in parts:
        part = picture.crop((int(left * wide), 0, int(right * wide), high))
        found = part.quantize(
            colors, method=Image.Quantize.MAXCOVERAGE if colors < COLORS // 2 else 0
        )
        palette += (found.getpalette() or [])[: 3 * colors]
    both = Image.new("P", (1, 1))
    both.putpalette(palette)
    return picture.quantize(palette=both, dither=Image.Dither.NONE)


def main(arguments: Any = None) -> None:
    """Take the tour."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slide", type=Path, default=REAL if REAL.exists() else SAMPLE)
    parser.add_argument("--bundle", type=Path, default=HERE / "sample_data" / "bundle")
    parser.add_argument("--out", type=Path, default=HERE / "docs" / "pictures")
    parser.add_argument(
        "--steps", default=",".join(STEPS), help="which, in this order; later ones need the earlier"
    )
    told = parser.parse_args(arguments)
    os.environ.setdefault("NAPARI_ENSURE_PLUGIN_MAIN_THREAD", "1")
    told.out.mkdir(parents=True, exist_ok=True)
    tour = Tour(told.slide, told.bundle, told.out)
    for step in (*told.steps.split(","), "close"):
        getattr(tour, step)()


if __name__ == "__main__":
    main()
