"""``slidecam faithfulness``.

How far to trust methods on some tiles, with a table, plots and plain sentences.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from slidecam.close_up.checks import FAITHFULNESS, CloseUpCall
from slidecam.close_up.methods import (
    DEFAULT,
    choose_methods,
    class_indices,
    with_usual_methods,
)
from slidecam.close_up.tiles import ChosenTiles, TileChoice, choose_tiles, holds_pictures
from slidecam.errors import UsageError
from slidecam.faithfulness import (
    MEASURES,
    FaithfulnessReport,
    FaithfulnessSpec,
    RandomisationSpec,
    check_randomisable,
    evidence_of,
    measure,
    randomisation,
    write_faithfulness,
)
from slidecam.faithfulness.mapping import PREDICTED, explained_classes
from slidecam.models import Card, open_bundle
from slidecam.models.backends import UNTRIED, choose_device
from slidecam.models.bundle import refuse_foreign, write_card
from slidecam.models.stain import sight_notes
from slidecam.settings import counted
from slidecam.steps import note_steps

if TYPE_CHECKING:
    from collections.abc import Generator

    from slidecam.models.splits import Precision
    from slidecam.steps import Step

LABELLED = "labelled"
NO_LABELS, NAME_A_CLASS = (
    "the tiles of a slide have no labels.",
    "Pass --class NAME, or predicted.",
)


@dataclass(frozen=True)
class MeasureSpec:
    """What `measure_tiles` may be given.

    Attributes
    ----------
    methods, settings
        As in `CloseUpSpec`.
    explained
        A class's name, ``predicted``, or ``labelled``: each picture's own class.
    tiles
        Which tiles.
    faithfulness
        Measures, seeds, steps.
    randomisation
        Settings of the check with random weights, on the first tiles; None leaves it out.
    onto_card
        Whether the bundle's card keeps what was found, for viewers to lead with what was shown to
        be faithful.
    device, precision, backend, trust, overwrite
        As in `CloseUpSpec`.
    """

    methods: tuple[str, ...] = DEFAULT
    settings: tuple[str, ...] = ()
    explained: str = PREDICTED
    tiles: TileChoice = field(default_factory=lambda: TileChoice(random=40))
    faithfulness: FaithfulnessSpec = field(default_factory=FaithfulnessSpec)
    randomisation: RandomisationSpec | None = field(default_factory=RandomisationSpec)
    onto_card: bool = False
    device: str = "auto"
    precision: Precision = "fp32"
    backend: str = UNTRIED
    trust: bool = False
    overwrite: bool = False


def measure_tiles(
    source: str | Path,
    model: str | Path,
    out: str | Path,
    spec: MeasureSpec | None = None,
) -> Generator[Step, None, FaithfulnessReport]:
    """Measure methods on tiles of a slide or on pictures, and write the report.

    Parameters
    ----------
    source
        A slide, a picture, or a folder of pictures with classes.
    model
        A bundle's folder.
    out
        Where ``faithfulness.html``, ``.json`` and ``.csv`` go.
    spec
        Everything else.

    Raises
    ------
    SlidecamError
        Whatever is wrong with the tiles, the bundle, a method or a setting; nothing is written
        then.
    """
    spec, folder = spec or MeasureSpec(), Path(out)
    call = CloseUpCall(source, (model,), spec.methods, spec.settings, spec.tiles.marks, spec.trust)
    call.refuse_unclear(folder, FAITHFULNESS, overwrite=spec.overwrite)
    _refuse_unmeasurable(Path(source), spec)
    bundle = open_bundle(model, trust=spec.trust)
    if spec.onto_card:
        refuse_foreign(bundle)
    classifier = bundle.classifier(choose_device(spec.device), spec.precision, spec.backend)
    methods = choose_methods(with_usual_methods(spec.methods, [classifier]), spec.settings)
    # What is wrong is found now rather than after minutes of measuring.
    if spec.explained not in {PREDICTED, LABELLED}:
        class_indices(bundle.card, [spec.explained])
    if spec.randomisation is not None:
        check_randomisable(bundle.network())
    explainers = {name: chosen.explainer(classifier) for name, chosen in methods.items()}
    tiles = yield from choose_tiles(source, classifier, spec.tiles)
    sight = sight_notes(classifier.card.channels, classifier.card.stain)
    notes = (*classifier.notes, *tiles.notes, *sight)
    yield from note_steps(notes)
    pixels = torch.from_numpy(tiles.pixels).to(classifier.device)
    wanted: str | tuple[int, ...] = spec.explained
    if spec.explained == LABELLED:
        wanted = _labelled(tiles, bundle.card)
    report = yield from measure(
        classifier,
        explainers,
        pixels,
        wanted,
        spec.faithfulness,
        masks=tiles.masks,
    )
    if spec.randomisation is not None:
        batch = spec.faithfulness.batch
        indices, _words = explained_classes(classifier, pixels, wanted, batch=batch)
        makers = {name: chosen.explainer for name, chosen in methods.items()}
        likenesses = yield from randomisation(
            bundle.network(),
            bundle.card,
            makers,
            pixels,
            indices,
            spec.randomisation,
        )
        report = replace(report, likenesses=likenesses)
    report = replace(report, notes=notes)
    write_faithfulness(report, folder)
    if spec.onto_card:
        on = f"{counted(report.tiles, 'tile')} of {Path(source).name}"
        write_card(bundle, replace(bundle.card, heatmap_evidence=evidence_of(report, on)))
    return report


def _refuse_unmeasurable(source: Path, spec: MeasureSpec) -> None:
    """Refuse labels that cannot be, and a measure that needs masks where there are none.

    UsageError.
    """
    if spec.explained == LABELLED and not holds_pictures(source):
        raise UsageError(NO_LABELS, NAME_A_CLASS)
    masked = [name for name in spec.faithfulness.named if MEASURES[name].needs_mask]
    if masked and spec.tiles.masks is None:
        problem = (
            f"The measure {masked[0]} asks whether a map lies where the class is, and nobody said"
            " where."
        )
        raise UsageError(problem, "Pass --masks FILE and --class NAME, or leave the measure out.")


def _labelled(tiles: ChosenTiles, card: Card) -> tuple[int, ...]:
    names = [label for label in tiles.labels if label is not None]
    if len(names) < len(tiles):
        raise UsageError(NO_LABELS, NAME_A_CLASS)
    return class_indices(card, names)
