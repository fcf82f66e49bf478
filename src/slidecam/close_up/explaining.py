"""``slidecam explain``: tiles by methods, side by side, and by several models too."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from slidecam.close_up.checks import EXPLANATION, CloseUpCall
from slidecam.close_up.findings import CloseUp, explained, panel_rows, write_close_up
from slidecam.close_up.methods import (
    DEFAULT,
    ChosenMethod,
    choose_methods,
    class_indices,
    with_usual_methods,
)
from slidecam.close_up.tiles import ChosenTiles, TileChoice, choose_tiles
from slidecam.errors import UsageError
from slidecam.faithfulness.removal import CurveSpec
from slidecam.learning.training.folder import BUNDLE_FOLDER
from slidecam.models import Card, Classifier, open_bundle
from slidecam.models.backends import UNTRIED, choose_device
from slidecam.models.stain import sight_notes
from slidecam.steps import Step, note_steps

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from torch import Tensor

    from slidecam.models.splits import Precision
    from slidecam.reports.panel_rows import PanelRow


@dataclass(frozen=True)
class CloseUpSpec:
    """What `explain_tiles` may be given.

    Attributes
    ----------
    methods, settings
        Names of the catalogue, `USUAL_METHODS`, and ``METHOD.KEY=VALUE`` texts.
    classes
        Names of the classes to explain; empty for each tile's predicted class.
    tiles
        Which tiles.
    curves
        Steps and baselines of the deletion and insertion curves; None leaves them out.
    device, precision, backend, trust, overwrite
        As in `PredictSpec`; whether an earlier close-up may be replaced.
    """

    methods: tuple[str, ...] = DEFAULT
    settings: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    tiles: TileChoice = field(default_factory=TileChoice)
    curves: CurveSpec | None = field(default_factory=CurveSpec)
    device: str = "auto"
    precision: Precision = "fp32"
    backend: str = UNTRIED
    trust: bool = False
    overwrite: bool = False


def explain_tiles(
    source: str | Path,
    model: str | Path,
    out: str | Path,
    spec: CloseUpSpec | None = None,
) -> Generator[Step, None, CloseUp]:
    """Explain tiles of a slide, or pictures, and write a panel of them.

    Parameters
    ----------
    source
        A slide, a picture, or a folder of pictures.
    model
        A bundle's folder.
    out
        Where ``panel.html``, ``panel.png``, ``explanation.json`` and ``maps.npz`` go.
    spec
        Everything else.

    Raises
    ------
    SlidecamError
        Whatever is wrong with the slide, the bundle, a method or a setting; nothing is written
        then.
    """
    found = yield from _explain(source, [model], Path(out), spec or CloseUpSpec(), named=False)
    return found[""]


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
    return (yield from _explain(source, models, Path(out), spec or CloseUpSpec(), named=True))


@dataclass(frozen=True, eq=False)
class _ModelFindings:
    """One model and what it found."""

    name: str
    classifier: Classifier
    found: CloseUp


def _explain(
    source: str | Path,
    models: Sequence[str | Path],
    folder: Path,
    spec: CloseUpSpec,
    *,
    named: bool,
) -> Generator[Step, None, dict[str, CloseUp]]:
    """Explain tiles by some models; where they are not ``named``, one by one of no name."""
    call = CloseUpCall(
        source, tuple(models), spec.methods, spec.settings, spec.tiles.marks, spec.trust
    )
    call.refuse_unclear(folder, EXPLANATION, overwrite=spec.overwrite)
    how = (choose_device(spec.device), spec.precision, spec.backend)
    classifiers = [open_bundle(model, trust=spec.trust).classifier(*how) for model in models]
    methods = choose_methods(with_usual_methods(spec.methods, classifiers), spec.settings)
    names: tuple[str, ...] = ("",)
    if named:
        names = model_names(models, [classifier.card for classifier in classifiers])
    for classifier in classifiers:
        class_indices(classifier.card, spec.classes or classifiers[0].card.class_names)
        for chosen in methods.values():
            chosen.explainer(classifier)  # a wrong setting is found before anything is read

    all_found: list[_ModelFindings] = []
    first = None
    noted: tuple[str, ...] = ()
    choice = spec.tiles
    for name, classifier in zip(names, classifiers, strict=True):
        tiles = yield from choose_tiles(source, classifier, choice)
        sight = sight_notes(classifier.card.channels, classifier.card.stain)
        notes = (*classifier.notes, *tiles.notes, *sight)
        yield from note_steps(note for note in notes if note not in noted)
        noted += notes
        choose = partial(_wanted, classifier, spec, first)
        found = yield from explained(classifier, methods, tiles, choose)
        all_found.append(_ModelFindings(name, classifier, found))
        first = all_found[0]
        choice = same_places(first.found.tiles, spec.tiles)
    rows = yield from _rows(all_found, methods, spec.curves)
    write_close_up(folder, {one.name: (one.classifier.card, one.found) for one in all_found}, rows)
    return {one.name: one.found for one in all_found}


def model_names(models: Sequence[str | Path], cards: Sequence[Card]) -> tuple[str, ...]:
    """Return the cards' names.

    Where two have one, the folders' names, and where these are one too, their paths.

    Raises
    ------
    UsageError
        If the paths are one as well.
    """
    for names in (
        tuple(card.name for card in cards),
        tuple(map(_folder_name, models)),
        tuple(map(str, models)),
    ):
        if len(set(names)) == len(names):
            return names
    raise UsageError("one bundle is named twice.", "Name each --model once.")


def _folder_name(model: str | Path) -> str:
    """Return the name that tells a bundle from others.

    Trainings leave theirs in folders that are all called so.
    """
    bundle = Path(model).resolve()
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
    classifier: Classifier,
    spec: CloseUpSpec,
    first: _ModelFindings | None,
    logits: Tensor,
) -> tuple[tuple[int, ...], ...]:
    """Return which classes of each tile: those named, or those that the first model called."""
    card = classifier.card
    if first is None or spec.classes:
        return wanted_classes(classifier, logits, class_indices(card, spec.classes))
    wanted = []
    for places in first.found.classes:
        names = map(first.classifier.card.class_names.__getitem__, places)
        wanted.append(class_indices(card, tuple(names)))
    return tuple(wanted)


def wanted_classes(
    classifier: Classifier,
    logits: Tensor,
    classes: tuple[int, ...],
) -> tuple[tuple[int, ...], ...]:
    """Return, for each tile's logits (K,), the classes that were named.

    Where none was, the predicted one; where none is called, the most probable one.
    """
    if classes:
        return (tuple(dict.fromkeys(classes)),) * len(logits)
    rows = classifier.probabilities(logits).tolist()
    return tuple((classifier.card.classes.foremost(row),) for row in rows)


def _rows(
    all_found: Sequence[_ModelFindings],
    methods: Mapping[str, ChosenMethod],
    curves: CurveSpec | None,
) -> Generator[Step, None, list[PanelRow]]:
    rows: list[PanelRow] = []
    tiles = len(all_found[0].found.tiles)
    for number in range(tiles):
        of_models = []
        for one in all_found:
            found = panel_rows(one.classifier, one.found, number, methods, curves)
            of_models.append([_under_name(row, one.name) for row in found])
        rows += map(_beside, *of_models)
        yield Step("curves", number + 1, tiles)
    return rows


def _under_name(row: PanelRow, name: str) -> PanelRow:
    """Return a row that says by which model it is; as it is where the model has no name."""
    if not name:
        return row
    return replace(
        row,
        captions=tuple(f"{name}: {caption}" for caption in row.captions),
        maps=tuple(replace(one, name=f"{name}/{one.name}", model=name) for one in row.maps),
        curves=tuple(replace(one, method=f"{name}/{one.method}") for one in row.curves),
    )


def _beside(*rows: PanelRow) -> PanelRow:
    """Return the rows of one tile and class, a row a model, as one."""
    first, *others = rows
    for row in others:
        first = replace(
            first,
            captions=first.captions + row.captions,
            maps=first.maps + row.maps,
            curves=first.curves + row.curves,
        )
    return first
