"""``slidecam explain`` with several models: the same tiles, each model's maps side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.close_up.explaining import (
    OUTPUTS,
    CloseUp,
    CloseUpSpec,
    class_indices,
    explained,
    panel_rows,
    refuse_existing,
    wanted_classes,
    write_close_up,
)
from slidecam.close_up.methods import choose_methods
from slidecam.close_up.tiles import TileChoice, choose_tiles
from slidecam.errors import UsageError
from slidecam.inference import choose_device
from slidecam.learning.training.folder import BUNDLE_FOLDER
from slidecam.models import open_bundle
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from torch import Tensor

    from slidecam.close_up.methods import ChosenMethod
    from slidecam.close_up.tiles import ChosenTiles
    from slidecam.models import Card, Classifier
    from slidecam.reports.panel_rows import PanelRow

Wanted = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class _Looked:
    """One model and what it found."""

    name: str
    classifier: Classifier
    found: CloseUp


def compare_models(
    source: str | Path,
    models: Sequence[str | Path],
    out: str | Path,
    spec: CloseUpSpec | None = None,
) -> Generator[Step, None, dict[str, CloseUp]]:
    """Explain the same tiles by several models, and write one panel.

    A row a tile, a column a model and method.

    Parameters
    ----------
    source
        A slide, a picture, or a folder of pictures.
    models
        Bundles' folders. The first one chooses the tiles, and says which class is explained where
        none is named; the others cut tiles of their own size and spacing round the same centres.
    out, spec
        As in `explain_tiles`; files are the same, with each model's maps and records under its
        name.

    Raises
    ------
    SlidecamError
        Whatever is wrong with the slide, a bundle, a method or a setting, or if a class is not
        known to every model; nothing is written then.
    """
    spec, folder = spec or CloseUpSpec(), Path(out)
    refuse_existing(folder, OUTPUTS, overwrite=spec.overwrite)
    methods = choose_methods(spec.methods, spec.settings)
    classifiers = [
        open_bundle(model, trust=spec.trust).classifier(choose_device(spec.device))
        for model in models
    ]
    names = model_names(models, [classifier.card for classifier in classifiers])
    for classifier in classifiers:
        class_indices(classifier.card, spec.classes or classifiers[0].card.class_names)
        for chosen in methods.values():
            chosen.explainer(classifier)  # a wrong setting is found before anything is read
    looked: list[_Looked] = []
    for name, classifier in zip(names, classifiers, strict=True):
        first = looked[0] if looked else None
        if first is None:
            choice = spec.tiles
        else:
            choice = same_places(first.found.tiles, spec.tiles)
        tiles = yield from choose_tiles(source, classifier, choice)
        choose = partial(_wanted, classifier, spec, first)
        looked.append(
            _Looked(name, classifier, (yield from explained(classifier, methods, tiles, choose)))
        )
    rows = yield from _rows(looked, methods, spec)
    write_close_up(folder, {one.name: (one.classifier.card, one.found) for one in looked}, rows)
    return {one.name: one.found for one in looked}


def model_names(models: Sequence[str | Path], cards: Sequence[Card]) -> tuple[str, ...]:
    """Return the cards' names.

    Where two have one, the folders' names, and where these are one too, their paths.

    Raises
    ------
    UsageError
        If the paths are one as well.
    """
    folders = tuple(_folder_name(Path(model)) for model in models)
    for names in (
        tuple(card.name for card in cards),
        folders,
        tuple(map(str, models)),
    ):
        if len(set(names)) == len(names):
            return names
    raise UsageError("one bundle is named twice.", "Name each --model once.")


def _folder_name(bundle: Path) -> str:
    """Return the name that tells a bundle from others.

    Trainings leave theirs in folders that are all called so.
    """
    bundle = bundle.resolve()
    if bundle.name == BUNDLE_FOLDER:
        return bundle.parent.name
    return bundle.name


def same_places(tiles: ChosenTiles, choice: TileChoice) -> TileChoice:
    """Return the choice that gives another model tiles with the same centres.

    Of pictures, the same pictures.
    """
    if tiles.slices:
        return replace(choice, slices=tiles.slices, top=None, random=None, of=None)
    if tiles.boxes is None or not (choice.at or choice.region or choice.top or choice.random):
        return choice
    centres = tiles.boxes[:, :2] + tiles.boxes[:, 2:] / 2
    at = tuple((float(x), float(y)) for x, y in centres)
    return replace(choice, at=at, region=None, top=None, random=None, of=None)


def _wanted(
    classifier: Classifier, spec: CloseUpSpec, first: _Looked | None, logits: Tensor
) -> Wanted:
    """Return which classes of each tile.

    Those that were asked for, or those that the first model called.
    """
    card = classifier.card
    if first is None or spec.classes:
        return wanted_classes(classifier, logits, class_indices(card, spec.classes))
    known = first.classifier.card.class_names
    return tuple(
        class_indices(card, [known[index] for index in some]) for some in first.found.classes
    )


def _rows(
    looked: Sequence[_Looked], methods: Mapping[str, ChosenMethod], spec: CloseUpSpec
) -> Generator[Step, None, list[PanelRow]]:
    rows: list[PanelRow] = []
    tiles, names = len(looked[0].found.tiles), [one.name for one in looked]
    for number in range(tiles):
        of_models = [panel_rows(one.classifier, one.found, number, methods, spec) for one in looked]
        rows += [_beside(names, beside) for beside in zip(*of_models, strict=True)]
        yield Step("curves", number + 1, tiles)
    return rows


def _beside(names: Sequence[str], rows: Sequence[PanelRow]) -> PanelRow:
    """Return the rows of one tile and class, a row a model, as one."""
    pairs = list(zip(names, rows, strict=True))
    return replace(
        rows[0],
        captions=tuple(f"{name}: {caption}" for name, row in pairs for caption in row.captions),
        maps=tuple(
            replace(one, name=f"{name}/{one.name}", model=name)
            for name, row in pairs
            for one in row.maps
        ),
        curves=tuple(
            replace(one, method=f"{name}/{one.method}") for name, row in pairs for one in row.curves
        ),
    )
