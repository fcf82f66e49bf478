"""The dock widget "Predict & explain": classify, read, teach, save, over one viewer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Layer
from qtpy.QtCore import QEvent, QSize, Qt
from qtpy.QtWidgets import QScrollArea, QTabWidget, QVBoxLayout, QWidget

from slidecam.plugin import compat
from slidecam.plugin.classify_tab import ClassifyTab
from slidecam.plugin.open_run import ShownRun
from slidecam.plugin.panels import ExplanationPanel, ProfilePanel, read_profile
from slidecam.plugin.placing import NO_TILE
from slidecam.plugin.read_tab import ReadTab
from slidecam.plugin.save_tab import SaveTab
from slidecam.plugin.slide import KEY, SlideFacts, hang
from slidecam.plugin.teach_tab import TeachTab
from slidecam.plugin.tile_explanation import explanation_layer
from slidecam.plugin.viewer_state import ViewerState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slidecam.plugin.tile_explanation import MethodMap, TileExplanation

WIDTH, NARROWEST = 430, 320
"""Screen pixels that the dock asks for, and those that it needs where the screen is small."""


class PredictAndExplain(QWidget):
    """What ``napari/layers/classify`` opens.

    Parameters
    ----------
    napari_viewer
        Given by napari, by this name.
    """

    def __init__(self, napari_viewer: Any) -> None:  # noqa: ANN401  (napari's proxy)
        super().__init__()
        self.state = ViewerState(napari_viewer)
        self.classify, self.read, self.save = (
            ClassifyTab(self.state),
            ReadTab(self.state),
            SaveTab(self.state),
        )
        self.teach = TeachTab(self.state)
        self.explanation: ExplanationPanel | None = None
        self.profile: ProfilePanel | None = None
        self._released = False
        self.tabs = QTabWidget()
        for title, tab in (
            ("Classify", self.classify),
            ("Read", self.read),
            ("Teach", self.teach),
            ("Save", self.save),
        ):
            area = QScrollArea()
            area.setWidgetResizable(True)
            area.setWidget(tab)
            area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
            self.tabs.addTab(area, title)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.addWidget(self.tabs)
        self.setMinimumWidth(NARROWEST)
        self._listen()
        self._take_what_is_open()

    def _listen(self) -> None:
        viewer = self.state.viewer
        viewer.layers.events.inserted.connect(self._layers_changed)
        viewer.layers.events.removed.connect(self._layers_changed)
        viewer.layers.selection.events.active.connect(self._another_chosen)
        viewer.mouse_move_callbacks.append(self._hover)
        viewer.mouse_drag_callbacks.append(self._click)
        viewer.bind_key("n", self._key_next, overwrite=True)
        viewer.bind_key("p", self._key_previous, overwrite=True)
        self.read.explained.connect(self.show_explanation)
        # A method of what is destroyed would never be called.
        self.destroyed.connect(lambda _gone=None: self.release())
        self.state.volume_shown.connect(self.show_profile)
        self.teach.taught.connect(self.run_taught)

    def sizeHint(self) -> QSize:  # noqa: N802  (Qt's name)
        """Return how large the dock would be."""
        return QSize(WIDTH, super().sizeHint().height())

    def changeEvent(self, event: QEvent | None) -> None:  # noqa: N802  (Qt's name)
        """Let go of the viewer when the user closes the dock.

        Napari takes the dock apart then without destroying this.
        """
        super().changeEvent(event)
        if (
            event is not None
            and event.type() == QEvent.Type.ParentChange
            and self.parentWidget() is None
        ):
            self.release()

    def release(self) -> None:
        """Stop what runs and let go of the viewer.

        Nothing of Qt is touched, which may be gone already.
        """
        if self._released:
            return
        self._released = True
        self.classify.halt()
        if self.profile is not None:
            self.profile.release()
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
        for key in ("n", "p"):
            viewer.bind_key(key, None, overwrite=True)

    def _take_what_is_open(self) -> None:
        """Show the legend of a run that was opened before this dock."""
        for layer in self.state.viewer.layers:
            if layer.metadata.get("volume run"):
                self._take_volume(Path(layer.metadata["volume run"]))
                return
            if isinstance(layer.metadata.get(KEY), ShownRun):
                self.state.show(layer.metadata[KEY])
                compat.in_micrometres(self.state.viewer)
                return

    def _take_volume(self, folder: Path) -> None:
        """Show the profile of a volume's run whose heat lies in the viewer."""
        self.state.volume = folder
        self.show_profile(folder)
        self.state.run_changed.emit()

    def _layers_changed(self, event: Any = None) -> None:  # noqa: ANN401  (napari's event)
        layer = getattr(event, "value", None)
        run = heat_of = None
        if isinstance(layer, Layer):
            run, heat_of = layer.metadata.get(KEY), layer.metadata.get("volume run")
        if isinstance(run, SlideFacts) and run.is_volume:
            hang(self.state.viewer)
        if isinstance(run, ShownRun) and self.state.run is None:
            self.state.show(run)
        if heat_of and event.type == "inserted" and Path(heat_of) != self.state.volume:
            self._take_volume(Path(heat_of))
        # What we lay over a slide ourselves changes nothing about what is open.
        opened = isinstance(run, SlideFacts) or getattr(layer, "rgb", False)
        if self.classify.job is None and opened:
            self.classify.refresh()

    def _another_chosen(self, _event: Any = None) -> None:  # noqa: ANN401  (napari's event)
        """Tell of the slide that *Run* would take, which is that of the chosen layer."""
        if self.classify.job is None and self.state.slide() != self.classify.facts:
            self.classify.refresh()

    def _hover(self, _viewer: Any, event: Any) -> None:  # noqa: ANN401
        self.read.hover(self.state.tile_at(event.position))

    def _click(self, _viewer: Any, event: Any) -> Iterator[None]:  # noqa: ANN401
        """Select the tile that was clicked; a drag moves the view and selects nothing."""
        yield
        if event.type == "mouse_release":
            row = self.state.tile_at(event.position)
            if row != NO_TILE:
                self.state.select(row)

    def _key_next(self, _viewer: Any) -> None:  # noqa: ANN401
        self.read.step(1)

    def _key_previous(self, _viewer: Any) -> None:  # noqa: ANN401
        self.read.step(-1)

    def show_explanation(self, found: TileExplanation) -> None:
        """Show an explained tile below the viewer."""
        if self.explanation is None:
            self.explanation = ExplanationPanel()
            self.explanation.chosen.connect(self._lay_on_slide)
        self._place(self.explanation, "Why this tile")
        self.explanation.show_explanation(found)

    def show_profile(self, folder: Path) -> None:
        """Show the profile of a volume's run below the viewer."""
        if self.profile is not None:
            self.profile.release()
            if self.profile.parentWidget() is not None:
                self.state.viewer.window.remove_dock_widget(self.profile)
        self.profile = ProfilePanel(self.state.viewer, read_profile(folder))
        self._place(self.profile, "Slices")

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
        self.classify.start()

    def _lay_on_slide(self, chosen: tuple[TileExplanation, MethodMap]) -> None:
        found, picture = chosen
        if self.state.run is not None:
            self.state.viewer.add_layer(
                Layer.create(*explanation_layer(found, picture, self.state.run))
            )
