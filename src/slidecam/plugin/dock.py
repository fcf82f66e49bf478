"""The dock widget "Predict & explain": classify, read, teach, save, over one viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Labels, Layer, Points, Shapes
from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtWidgets import QScrollArea, QTabWidget, QVBoxLayout, QWidget

from slidecam.errors import SlidecamError
from slidecam.plugin import compat
from slidecam.plugin.classify_tab import ClassifyTab
from slidecam.plugin.closing import ClosingGuard, window_of
from slidecam.plugin.hanging import hang
from slidecam.plugin.header import Header
from slidecam.plugin.loading import is_loaded, load_libraries
from slidecam.plugin.open_run import ShownRun
from slidecam.plugin.overlays import CLASS
from slidecam.plugin.ownership import ON_TOP, lay_on
from slidecam.plugin.panels import ExplanationPanel, ProfilePanel, read_profile
from slidecam.plugin.placing import NO_TILE
from slidecam.plugin.read_tab import ReadTab
from slidecam.plugin.remembered import Remembered
from slidecam.plugin.save_tab import SaveTab
from slidecam.plugin.slide import KEY, SlideFacts
from slidecam.plugin.tasks import (
    in_background,
    inform,
    report_error,
    step_in_words,
)
from slidecam.plugin.teach_tab import TeachTab
from slidecam.plugin.tile_explanation import explanation_layer, slice_layer
from slidecam.plugin.tools import moves_the_view
from slidecam.plugin.viewer_state import OVERLAYS, ViewerState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qtpy.QtGui import QShowEvent

    from slidecam.plugin.tile_explanation import MethodMap, TileExplanation
    from slidecam.steps import Step

TEACH = 2
"""The place of the tab that teaches."""

WIDTH, NARROWEST = 430, 320
"""Screen pixels that the dock asks for, and those that it needs where the screen is small."""

GIVEN_UP = "That is given up when the window is closed."
STOPPED = (
    "The run was stopped with the dock. What is done stays: open the dock again, and “Run” goes on"
    " with it."
)


class PredictAndExplain(QWidget):
    """What ``napari/layers/classify`` opens.

    Parameters
    ----------
    napari_viewer
        Given by napari, by this name.
    """

    def __init__(self, napari_viewer: Any) -> None:  # noqa: ANN401  (napari's proxy)
        super().__init__()
        self.state, remembered = ViewerState(napari_viewer), Remembered()
        self.header = Header(self.state, remembered)
        self.classify, self.read, self.save = (
            ClassifyTab(self.state, remembered),
            ReadTab(self.state),
            SaveTab(self.state),
        )
        self.teach, self.close_up = TeachTab(self.state), self.read.close_up
        self.explanation: ExplanationPanel | None = None
        self.profile: ProfilePanel | None = None
        self.loader: Any = None
        self._explained: tuple[str, Path | None] | None = None
        self._profiled: Path | None = None
        self._released = False
        self._guard: ClosingGuard | None = None
        self.tabs = QTabWidget()
        for title, tab in (
            ("1 Classify", self.classify),
            ("2 Read", self.read),
            ("3 Teach", self.teach),
            ("4 Save", self.save),
        ):
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setWidget(tab)
            area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
            self.tabs.addTab(area, title)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.header)
        whole.addWidget(self.tabs)
        self.setMinimumWidth(NARROWEST)
        self._listen()
        self._take_what_is_open()

    def _listen(self) -> None:
        viewer = self.state.viewer
        viewer.layers.events.inserted.connect(self._layers_changed)
        viewer.layers.events.removed.connect(self._layers_changed)
        viewer.layers.selection.events.active.connect(self._another_chosen)
        for layer in viewer.layers:
            self._watch(layer)
        viewer.mouse_move_callbacks.append(self._hover)
        viewer.mouse_drag_callbacks.append(self._click)
        viewer.bind_key("n", self._key_next, overwrite=True)
        viewer.bind_key("p", self._key_previous, overwrite=True)
        viewer.bind_key("h", self._key_flip, overwrite=True)
        self.close_up.explained.connect(self.show_explanations)
        # A method of what is destroyed would never be called.
        self.destroyed.connect(lambda _gone=None: self.release())
        self.state.volume_shown.connect(self.show_profile)
        self.teach.taught.connect(self.run_taught)
        self.classify.finished.connect(self._read_next)

    def sizeHint(self) -> QSize:  # noqa: N802  (Qt's name)
        """Return how large the dock would be."""
        # The header's buttons side by side, whatever napari's size of letters.
        width = max(WIDTH, self.header.minimumSizeHint().width())
        return QSize(width, super().sizeHint().height())

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Let go of the viewer when the user closes the dock.

        Napari takes the dock apart then without destroying this.
        """
        super().changeEvent(event)
        if event is None or event.type() != QEvent.Type.ParentChange:
            return
        if self.parentWidget() is None:
            if self.classify.job is not None:
                inform(STOPPED)
            self.release()
            if self._guard is not None:
                self._guard.release()

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Hear of the closing of the window that the dock is shown in, and load what is needed."""
        super().showEvent(event)
        if self.loader is None and not is_loaded():
            self._load()
        window = window_of(self)
        if self._guard is None and window is not None:
            self._guard = ClosingGuard(window, self.going_on, self.stop_all)

    def _load(self) -> None:
        # Methods, which Qt forgets with the window; it would call functions of what is gone.
        self.loader = in_background(
            load_libraries(), self._loading, self._loaded, self._loaded, self._loaded
        )

    def _loading(self, step: Step) -> None:
        self.classify.say_loading(step_in_words(step))

    def _loaded(self, _result: object = None) -> None:
        self.classify.say_loading("")

    def going_on(self) -> str:
        """Return what goes on and ends with the window, in words; nothing where nothing does."""
        if self.teach.worker is not None:
            return self.classify.going_on or f"A model is being taught. {GIVEN_UP}"
        if self.close_up.worker is not None:
            return self.classify.going_on or f"A tile is being explained. {GIVEN_UP}"
        return self.classify.going_on

    def stop_all(self) -> None:
        """Stop whatever goes on, at its next step."""
        self.classify.halt()
        reading = self.classify.model.worker
        for worker in (self.teach.worker, self.close_up.worker, self.loader, reading):
            if worker is not None:
                worker.quit()

    def release(self) -> None:
        """Stop what runs and let go of the viewer.

        Nothing of Qt is touched, which may be gone already.
        """
        if self._released:
            return
        self._released = True
        self.stop_all()
        if self.profile is not None:
            self.profile.release()
        self.teach.tools.release()
        viewer = self.state.viewer
        viewer.layers.events.inserted.disconnect(self._layers_changed)
        viewer.layers.events.removed.disconnect(self._layers_changed)
        viewer.layers.selection.events.active.disconnect(self._another_chosen)
        for callbacks, mine in (
            (viewer.mouse_move_callbacks, self._hover),
            (viewer.mouse_drag_callbacks, self._click),
        ):
            if mine in callbacks:
                callbacks.remove(mine)
        for key in ("n", "p", "h"):
            viewer.bind_key(key, None, overwrite=True)

    def _take_what_is_open(self) -> None:
        """Show the legend of a run that was opened before this dock."""
        for layer in self.state.viewer.layers:
            self._take_result(layer)
        self.state.follow()
        compat.show_scale_bar(self.state.viewer, self.state.unit)

    def _take_result(self, layer: Any) -> None:  # noqa: ANN401  (any layer)
        """Show the run that was opened with a layer, in the place of another of its slide."""
        run, heat_of = layer.metadata.get(KEY), layer.metadata.get("volume run")
        opened = isinstance(run, ShownRun) and layer.metadata.get("kind") == CLASS
        if opened and not self.state.shows(run):
            self.state.show(run)
        if heat_of and not self.state.shows_volume(Path(heat_of)):
            self.state.take_volume(Path(heat_of))

    def _layers_changed(self, event: Any = None) -> None:  # noqa: ANN401  (napari's event)
        layer = getattr(event, "value", None)
        facts = None
        if isinstance(layer, Layer):
            facts = layer.metadata.get(KEY)
            if event.type == "inserted":
                self._take_layer(layer)
                if isinstance(facts, SlideFacts) and facts.is_volume:
                    hang(self.state.viewer)
        # What we lay over a slide ourselves changes nothing about what is open.
        opened = isinstance(facts, SlideFacts) or getattr(layer, "rgb", False)
        self._follow(opened=opened)

    def _take_layer(self, layer: Layer) -> None:
        """Take a layer that was added: a result is shown, a drawing is of the chosen slide."""
        if isinstance(layer, Shapes | Points | Labels):
            lay_on(layer, self.state.chosen)
        if isinstance(layer, Shapes | Points):
            layer.metadata.setdefault(ON_TOP, "by hand")
        self._watch(layer)
        self._take_result(layer)

    def _watch(self, layer: Layer) -> None:
        """Follow what is drawn in a layer, and whether an overlay is seen."""
        self.teach.layers.watch(layer)
        if layer.metadata.get("kind") in OVERLAYS:
            layer.events.visible.connect(self._overlay_seen)

    def _overlay_seen(self, _event: Any = None) -> None:  # noqa: ANN401  (napari's event)
        if not self._released:
            self.read.show_scale()

    def _another_chosen(self, _event: Any = None) -> None:  # noqa: ANN401  (napari's event)
        """Show what is of the slide that is chosen now, which *Run* would take."""
        self._follow(opened=self.state.slide() != self.classify.facts)
        self.teach.tools.follow()

    def _follow(self, *, opened: bool) -> None:
        if self.state.follow() or opened:
            self.classify.refresh()
            self.header.refresh()
            compat.show_scale_bar(self.state.viewer, self.state.unit)
        self._show_panels()

    def _show_panels(self) -> None:
        """Show the panels below the viewer that are of the chosen slide; hide the others."""
        for panel, seen in (
            (self.explanation, self.state.shown == self._explained),
            (self.profile, self._profiled == self.state.volume),
        ):
            if panel is not None and panel.parentWidget() is not None:
                panel.parentWidget().setVisible(seen)
        volume = self.state.volume
        if volume is not None and volume != self._profiled:
            self.show_profile(volume)

    def _read_next(self) -> None:
        """Turn to the tab that reads a result, after one that was begun in *Classify*."""
        if self.tabs.currentIndex() == 0 and self.state.run is not None:
            self.tabs.setCurrentIndex(1)

    def _hover(self, _viewer: Any, event: Any) -> None:  # noqa: ANN401
        self.read.hover(self.state.tile_at(event.position))

    def _click(self, _viewer: Any, event: Any) -> Iterator[None]:  # noqa: ANN401
        """Select the tile that was clicked; a drag moves the view and selects nothing."""
        drawing = not moves_the_view(self.state.viewer.layers.selection.active)
        yield
        if event.type == "mouse_release" and not drawing:
            row = self.state.tile_at(event.position)
            if row != NO_TILE:
                self.state.select(row)

    def _key_next(self, _viewer: Any) -> None:  # noqa: ANN401
        self._walk(1)

    def _key_previous(self, _viewer: Any) -> None:  # noqa: ANN401
        self._walk(-1)

    def _walk(self, by: int) -> None:
        """Fly to the next tile of the list that is looked at: changed ones in *Teach*."""
        if self.tabs.currentIndex() == TEACH and self.teach.changes.tiles:
            self.teach.changes.step(by)
        else:
            self.read.step(by)

    def _key_flip(self, _viewer: Any) -> None:  # noqa: ANN401
        self.teach.changes.turn_over()

    def show_explanations(self, explained: Sequence[TileExplanation]) -> None:
        """Show explained tiles, or a slice, below the viewer."""
        if self.explanation is None:
            self.explanation = ExplanationPanel()
            self.explanation.chosen.connect(self._lay_on_slide)
        self._explained = self.close_up.explaining
        self._place(self.explanation, "Why this tile")
        self.explanation.show_explanations(explained)
        self._show_panels()

    def show_profile(self, folder: Path) -> None:
        """Show the profile of a volume's run below the viewer."""
        if self.profile is not None:
            self.profile.release()
            if self.profile.parentWidget() is not None:
                self.state.viewer.window.remove_dock_widget(self.profile)
        self.profile, self._profiled = (
            ProfilePanel(self.state.viewer, read_profile(folder)),
            folder,
        )
        self._place(self.profile, "Slices")
        self._show_panels()

    def _place(self, panel: QWidget, name: str) -> None:
        """Show a panel below the viewer.

        One that the user closed has been taken out of its dock by napari.
        """
        dock = panel.parentWidget()
        if dock is None:
            self.state.viewer.window.add_dock_widget(panel, name=name, area="bottom")
        else:
            dock.show()

    def run_taught(self, bundle: str) -> None:
        """Run a bundle that was taught just now, in the place of the one before."""
        self.classify.bundle.setCurrentText(bundle)
        self.classify.model.when_read(self.classify.start)

    def _lay_on_slide(self, chosen: tuple[TileExplanation, MethodMap]) -> None:
        found, picture = chosen
        run = self.state.run
        try:
            if run is None:
                layer = slice_layer(found, picture, self.state.chosen)
            else:
                layer = explanation_layer(found, picture, run)
        except SlidecamError as error:
            report_error(str(error))
            return
        self.state.lay_map(layer)
