"""What the colours of the overlay mean that is looked at: a probability, or a method's heat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from slidecam.exchange.volumes import read_volume_ome_zarr
from slidecam.explain.catalogue import method_for, title_of
from slidecam.plugin.overlays import HEAT, PROBABILITY
from slidecam.plugin.panels import pixmap
from slidecam.registry import deferred
from slidecam.runs import RunRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slidecam.plugin.open_run import ShownRun
    from slidecam.plugin.viewer_state import ViewerState
    from slidecam.reports import sidebar
    from slidecam.reports.sidebar import HeatScale
else:
    # matplotlib comes with it.
    sidebar = deferred("slidecam.reports.sidebar")

HIGH = 12
"""Screen pixels."""


def scale_shown(state: ViewerState) -> HeatScale | None:
    """Return what the colours mean of the overlay that lies on top of the others.

    None where classes alone are shown, whose colours stand in the legend.
    """
    if state.volume is not None:
        return _of_volume(state.viewer.layers, state.volume)
    seen = [layer.metadata for layer in state.overlays(PROBABILITY, HEAT) if layer.visible]
    if state.run is None or not seen:
        return None
    facts = seen[-1]
    if facts["kind"] == PROBABILITY:
        return _of_probability(state.run, facts["class"], state.threshold)
    return _of_heat(state.run, facts["class"], facts["method"])


def _of_volume(layers: Iterable[Any], folder: Path) -> HeatScale | None:
    """Return what the colours mean of the topmost heat that is seen of a volume's run."""
    facts: dict[str, Any] = {}
    for layer in layers:
        if layer.visible and layer.metadata.get("volume run") == str(folder):
            facts = layer.metadata
    if not facts:
        return None
    heat = read_volume_ome_zarr(Path(facts["heatmap"])).spec
    channel = heat.class_names.index(facts["class"])
    title = f"{title_of(facts['method'])} for {facts['class']}"
    scale = sidebar.HeatScale(f"{title}, {sidebar.OWN_SCALE}", signed=heat.signed)
    for record in RunRecord.read(folder).heatmaps:
        if record.method == facts["method"]:
            scale = sidebar.recorded_scale(title, record, channel, signed=heat.signed)
    return replace(scale, label=scale.label.replace("the slide's", "the volume's"))


def _of_probability(run: ShownRun, name: str, least: float) -> HeatScale:
    known = run.table.classes
    words = f"{known.output_word} of {name}"
    ticks = f"{least:g}", f"{(least + 1) / 2:g}", "1"
    return sidebar.HeatScale(words, ticks, color=known.colors[known.names.index(name)])


def _of_heat(run: ShownRun, name: str, method: str) -> HeatScale:
    title, signed = f"{title_of(method)} for {name}", method_for(method).signed
    for record in run.stored.record.heatmaps:
        if record.method == method:
            channel = run.stored.map_classes.index(name)
            return sidebar.recorded_scale(title, record, channel, signed=signed)
    return sidebar.HeatScale(f"{title}, {sidebar.OWN_SCALE} so far", signed=signed)


class ColourBar(QWidget):
    """A strip of colours with what they mean above, and the values at its ends below."""

    def __init__(self) -> None:
        super().__init__()
        self.label, self.strip = QLabel(), QLabel()
        self.label.setWordWrap(True)
        self.strip.setScaledContents(True)
        self.strip.setFixedHeight(HIGH)
        self.ticks = [QLabel() for _end in range(3)]
        ends = QHBoxLayout()
        places = Qt.AlignmentFlag
        sides = places.AlignLeft, places.AlignHCenter, places.AlignRight
        for tick, side in zip(self.ticks, sides, strict=True):
            tick.setAlignment(side)
            ends.addWidget(tick)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(2)
        whole.addWidget(self.label)
        whole.addWidget(self.strip)
        whole.addLayout(ends)

    def show_scale(self, scale: HeatScale | None) -> None:
        """Show what colours mean; nothing where there is nothing to say."""
        self.setVisible(scale is not None)
        if scale is None:
            return
        self.label.setText(scale.label)
        self.setAccessibleName(f"{scale.label}: {scale.ticks[0]} to {scale.ticks[-1]}")
        self.strip.setPixmap(pixmap(scale.strip(), edge=None))
        for tick, words in zip(self.ticks, scale.ticks, strict=True):
            tick.setText(words)
