"""What a click on the slide does: one thing at a time.

It looks, draws an area, paints, or corrects a tile. napari's own tools belong to a layer, and ours
to the dock: whichever was taken last is in hand, and the other is put down.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from slidecam.plugin.annotation_layers import DRAWN, PAINTED
from slidecam.plugin.ownership import ON_TOP
from slidecam.plugin.slide import KEY, SlideFacts

if TYPE_CHECKING:
    from slidecam.plugin.annotation_layers import AnnotationLayers


class Tool(StrEnum):
    """What a click does, by the words that stand on its button."""

    LOOK = "Look"
    DRAW = "Draw areas"
    PAINT = "Paint"
    CORRECT = "Correct tiles by click"


MOVES_THE_VIEW = ("pan_zoom", "transform")
"""Modes of a layer in which a click neither draws nor changes anything."""

MADE_FOR = {DRAWN: Tool.DRAW, PAINTED: Tool.PAINT}


def moves_the_view(layer: Any) -> bool:  # noqa: ANN401  (any layer, or None)
    """Whether a click leaves the active layer as it is."""
    return str(getattr(layer, "mode", MOVES_THE_VIEW[0])) in MOVES_THE_VIEW


class Tools:
    """The tool that is in hand in one viewer.

    Parameters
    ----------
    layers
        What is drawn, painted and corrected.

    Attributes
    ----------
    in_hand
        What a click does now.
    """

    changed = Signal(object)
    """Another tool is in hand."""

    def __init__(self, layers: AnnotationLayers) -> None:
        self.layers, self.in_hand = layers, Tool.LOOK
        self._followed: Any = None
        self._taking = False

    def take(self, tool: Tool, class_name: str) -> None:
        """Take a tool in hand, for areas and tiles of a class, and put the others down.

        Raises
        ------
        UsageError
            If no result is shown, on which anything could be drawn.
        """
        self._taking = True
        try:
            self._put_down()
            if tool is Tool.DRAW:
                self.layers.draw(class_name).mode = "add_polygon"
            elif tool is Tool.PAINT:
                self.layers.paint(class_name).mode = "paint"
            else:
                self._look_at_the_slide()
        except BaseException:
            self._hold(Tool.LOOK)
            raise
        finally:
            self._taking = False
        self._hold(tool)
        self.follow()

    def _hold(self, tool: Tool) -> None:
        if tool is not self.in_hand:
            self.in_hand = tool
            self.changed.emit(tool)

    def _put_down(self) -> None:
        for layer in self.layers.state.viewer.layers:
            if not moves_the_view(layer):
                layer.mode = MOVES_THE_VIEW[0]

    def _look_at_the_slide(self) -> None:
        """Make the slide's own layer active, where a layer of drawings is: it takes no clicks."""
        layers, chosen = self.layers.state.viewer.layers, self.layers.state.chosen
        active = layers.selection.active
        if active is None or ON_TOP not in active.metadata:
            return
        for layer in layers:
            facts = layer.metadata.get(KEY)
            if isinstance(facts, SlideFacts) and facts.fingerprint == chosen:
                layers.selection.active = layer
                return

    def follow(self, _event: Any = None) -> None:  # noqa: ANN401  (napari's event)
        """Follow another choice of a layer, and of the tool that napari has for it."""
        active = self.layers.state.viewer.layers.selection.active
        if active is not self._followed:
            self.release()
            self._followed = active
            if active is not None:
                active.events.mode.connect(self.follow)
        if self._taking:
            return
        if not moves_the_view(active):
            self._hold(MADE_FOR.get(active.metadata.get(ON_TOP, ""), Tool.LOOK))
        elif self.in_hand is not Tool.CORRECT:
            self._hold(Tool.LOOK)

    def release(self) -> None:
        """Let go of the layer that is followed."""
        if self._followed is not None:
            self._followed.events.mode.disconnect(self.follow)
        self._followed = None
