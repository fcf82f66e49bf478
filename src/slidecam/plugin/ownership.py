"""Whose a layer is, which slide is chosen, and what is shown of each.

A slide, its runs, and what was drawn on it bear the fingerprint of the slide's content; names may
change, and two slides may bear one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slidecam.errors import SlidecamError
from slidecam.plugin.placing import NO_TILE
from slidecam.plugin.slide import KEY, SlideFacts, facts_of, run_folder
from slidecam.sources.apart import open_apart

if TYPE_CHECKING:
    from collections.abc import Iterable

    from slidecam.plugin.open_run import ShownRun

SLIDE = "of slide"
"""Under this name a layer remembers the fingerprint of the slide that it lies on."""

SEEN = "seen with its slide"
"""And under this one whether it is to be seen again when its slide is chosen again."""


ON_TOP = "drawn by hand"
"""And under this one that it lies above a run's overlays: what a person drew, and corrected."""


@dataclass(eq=False)
class SlideState:
    """What is shown of one slide.

    Attributes
    ----------
    run
        Its run, or None.
    volume
        The folder of its run, where it is a volume and has one.
    selected
        The tile that the user chose, or `NO_TILE`.
    """

    run: ShownRun | None = None
    volume: Path | None = None
    selected: int = NO_TILE


NOTHING = SlideState()
"""What is shown of no slide. Nobody writes to it."""


def owner_of(layer: Any) -> str:  # noqa: ANN401  (any layer)
    """Return the fingerprint of the slide that a layer shows or lies on; nothing if it has none."""
    kept = layer.metadata.get(KEY)
    return str(getattr(kept, "fingerprint", "") or layer.metadata.get(SLIDE, ""))


def lay_on(layer: Any, fingerprint: str) -> None:  # noqa: ANN401  (any layer)
    """Write down whose a layer is, where nobody has."""
    if fingerprint and not owner_of(layer):
        layer.metadata[SLIDE] = fingerprint


def facts_in(layers: Iterable[Any], fingerprint: str) -> SlideFacts | None:
    """Return what is kept of a slide that lies open; None where it does not."""
    for layer in layers:
        facts = layer.metadata.get(KEY)
        if isinstance(facts, SlideFacts) and facts.fingerprint == fingerprint:
            return facts
    return None


def chosen_in(layers: Any) -> str:  # noqa: ANN401  (napari's list of layers)
    """Return the fingerprint of the slide that is chosen in a list of layers.

    The active layer's, else the topmost one's that has any; nothing where no slide is open.
    """
    active = layers.selection.active
    owners = [owner_of(layer) for layer in (*layers, *filter(None, [active]))]
    return next(filter(None, reversed(owners)), "")


def opened_by_another(layers: Iterable[Any], fingerprint: str) -> Any:  # noqa: ANN401  (a napari layer)
    """Return the picture of a slide that another reader than slidecam opened; None if none did."""
    if not fingerprint:
        return None
    for layer in layers:
        picture = getattr(layer, "rgb", False) and layer.source.path and KEY not in layer.metadata
        if picture and owner_of(layer) == fingerprint:
            return layer
    return None


def came_with_its_slide(layers: Iterable[Any], folder: Path) -> bool:
    """Whether a slide was opened as part of the run in a folder.

    The reader brings the overlays, a moment later.
    """
    slides = [layer for layer in layers if isinstance(layer.metadata.get(KEY), SlideFacts)]
    opened = [run_folder(Path(layer.source.path)) for layer in slides if layer.source.path]
    return folder.resolve() in [one.resolve() for one in opened if one is not None]


def show_only(layers: Iterable[Any], fingerprint: str) -> None:
    """Hide what belongs to other slides, and show again what was seen with this one.

    Each layer remembers whether it was visible. One that the user shows by hand, although another
    slide is chosen, stays as it is.
    """
    for layer in layers:
        owner = owner_of(layer)
        if not owner:
            continue
        if owner == fingerprint:
            show(layer, seen=layer.metadata.pop(SEEN, layer.visible))
        elif SEEN not in layer.metadata:
            layer.metadata[SEEN] = layer.visible
            show(layer, seen=False)


def show(layer: Any, *, seen: bool) -> None:  # noqa: ANN401  (any layer)
    """Show or hide a layer; one that is so already is not drawn again, as napari would."""
    if layer.visible != seen:
        layer.visible = seen


class OpenSlides:
    """The slides that are open in a viewer, which of them is chosen, and what is shown of each.

    Parameters
    ----------
    viewer
        napari's viewer, its model, or the proxy that widgets are given.
    """

    def __init__(self, viewer: Any) -> None:  # noqa: ANN401  (the viewer, its model or a proxy)
        self.viewer = viewer
        self._views: dict[str, SlideState] = {}
        self._opened: dict[str, SlideFacts | None] = {}
        self._chosen = ""

    @property
    def chosen(self) -> str:
        """The fingerprint of the slide that the user looks at; nothing where none is open.

        The active layer's, else the one before, else the topmost one's.
        """
        layers = self.viewer.layers
        for layer in layers:
            self._claim(layer)
        active = layers.selection.active
        if active is not None and owner_of(active):
            self._chosen = owner_of(active)
        elif self._chosen not in self._owners():
            self._chosen = chosen_in(layers)
        return self._chosen

    def _owners(self) -> set[str]:
        return {owner_of(layer) for layer in self.viewer.layers} - {""}

    def _forget(self) -> None:
        """Forget what was of slides that are closed by now."""
        for gone in set(self._views) - self._owners():
            del self._views[gone]

    @property
    def view(self) -> SlideState:
        """What is shown of the chosen slide; where none is open, nothing."""
        return self._views.get(self.chosen, NOTHING)

    def _view_of(self, fingerprint: str) -> SlideState:
        return self._views.setdefault(fingerprint, SlideState())

    @property
    def run(self) -> ShownRun | None:
        """The run that is shown of the chosen slide."""
        return self.view.run

    @property
    def runs(self) -> tuple[ShownRun, ...]:
        """The runs that are shown of all slides that are open, whichever is chosen."""
        runs: list[ShownRun] = []
        here = self._owners()
        for owner, view in self._views.items():
            if owner in here and view.run is not None:
                runs.append(view.run)
        return tuple(runs)

    @property
    def volume(self) -> Path | None:
        """The folder of the run that is shown of the chosen volume."""
        return self.view.volume

    @property
    def shown(self) -> tuple[str, Path | None]:
        """What tells what is shown now from what was before: the slide, and its run's folder."""
        run = self.run
        if run is None:
            return self.chosen, self.volume
        return run.fingerprint, run.folder

    @property
    def selected(self) -> int:
        """The tile that the user chose, or `NO_TILE`."""
        return self.view.selected

    def shows(self, run: ShownRun) -> bool:
        """Whether this very run is the one that is shown of its slide, as far as it is known."""
        view = self._views.get(run.fingerprint)
        return view is not None and view.run is run

    def shows_volume(self, folder: Path) -> bool:
        """Whether the run in a folder is the one that is shown of its volume."""
        return any(view.volume == folder for view in self._views.values())

    @property
    def empty_text(self) -> str:
        """What the tabs that are about tiles say while there are none."""
        if self.volume is None:
            return "No result is shown yet: run a model in “Classify”."
        return (
            "A volume's result is shown: heat on its voxels, and its slices below. This tab is for"
            " slides."
        )

    def slide(self) -> SlideFacts | None:
        """Return the slide that the user looks at; None where its picture is not open."""
        chosen = self.chosen
        facts = facts_in(self.viewer.layers, chosen)
        if facts is not None or not chosen:
            return facts
        others = filter(None, self._opened.values())
        return next((one for one in others if one.fingerprint == chosen), None)

    @property
    def unit(self) -> str | None:
        """In which unit the chosen slide is measured; None for pixels."""
        facts = self.slide()
        if facts is None:
            return None
        if facts.is_volume:
            return "mm"
        if facts.spacing is None:
            return None
        return "um"

    def _claim(self, layer: Any) -> None:  # noqa: ANN401  (any layer)
        """Find out which slide a picture is that napari or another plugin opened.

        It is none where slidecam does not read it too.
        """
        path = layer.source.path
        if not path or not getattr(layer, "rgb", False) or owner_of(layer):
            return
        if path not in self._opened:
            self._opened[path] = None
            try:
                with open_apart(path) as source:
                    self._opened[path] = facts_of(source)[0]
            except SlidecamError:
                return
        facts = self._opened[path]
        if facts is not None:
            lay_on(layer, facts.fingerprint)
