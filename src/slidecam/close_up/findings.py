"""What a close-up found: maps and facts of each tile, the panel's rows, and the files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from slidecam.close_up.tiles import BATCH, ChosenTiles
from slidecam.errors import EntryFailedError, SlidecamError
from slidecam.explain.baselines import BASELINES
from slidecam.explain.catalogue import title_of
from slidecam.explain.facts import (
    facts_of_tiles,
    facts_record,
    least_scale,
    shown_by,
    tile_notes,
    unit_of,
)
from slidecam.explain.neighbours import (
    EXPLAINED,
    NeighbourAccount,
    has_neighbours,
    neighbour_accounts,
)
from slidecam.faithfulness.mapping import enlarged, refuse_no_numbers
from slidecam.faithfulness.removal import ClassScorer, CurveSpec, curves, run_all
from slidecam.files import replacing, strict_json, write_json
from slidecam.models.classifier import Classifier, normalised
from slidecam.models.stain import sight_notes
from slidecam.reports.panel import write_panel
from slidecam.reports.panel_rows import PanelCurves, PanelMap, PanelRow
from slidecam.runs.tiles import DISAGREEMENT, words_on_disagreement
from slidecam.steps import Milestone

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from slidecam.classes import ClassSet
    from slidecam.close_up.methods import ChosenMethod
    from slidecam.explain.explainer import Explanation
    from slidecam.models import Card
    from slidecam.steps import Step

    Map = NDArray[np.float32]

SHOWN = 24
"""Rows of the panel; all maps are in ``maps.npz``."""


@dataclass(frozen=True, eq=False)
class CloseUp:
    """What was found.

    Attributes
    ----------
    tiles
        What was looked at.
    logits, probabilities
        float32, (N, K).
    classes
        Indices that were explained of each tile.
    maps
        By method, of each tile: float32, (classes of the tile, h, w), raw.
    facts
        By method, of each tile: passes and whatever must be said beside its map.
    neighbours
        Of a graph of cells: for each tile and class what its neighbours add to the logit; else
        empty.
    failed
        By method: what it raised that nobody foresaw, for which it has no maps.
    disagreement
        How far an ensemble's members disagree of each tile, float32, (N,), 0 to 1; None of others.
    runs_by
        What ran the network, and how it came to that: `Classifier.backend` and its notes.
    """

    tiles: ChosenTiles
    logits: Map
    probabilities: Map
    classes: tuple[tuple[int, ...], ...]
    maps: Mapping[str, list[Map]]
    facts: Mapping[str, Sequence[Mapping[str, Any]]]
    neighbours: tuple[tuple[NeighbourAccount, ...], ...] = ()
    failed: Mapping[str, EntryFailedError] = field(default_factory=dict)
    disagreement: NDArray[np.float32] | None = None
    runs_by: tuple[str, ...] = ()

    def notes(self, method: str, number: int, place: int) -> tuple[str, ...]:
        """Return what limits a method's map of one tile and one of its classes."""
        values = self.maps[method][number][place]
        peak = float(np.abs(values).max())
        return tile_notes(method, self.facts[method][number], peak, values.size)

    def method_facts(self) -> dict[str, dict[str, Any]]:
        """Return what must be said of each method's maps of all tiles; see `facts_of_tiles`."""
        return {name: facts_of_tiles(each) for name, each in self.facts.items()}


@dataclass(frozen=True, eq=False)
class MapsSoFar(Milestone):
    """One more method is done.

    Attributes
    ----------
    found
        The maps as far as they are there: of the methods that are done.
    """

    found: CloseUp | None = None


def explained(
    classifier: Classifier,
    methods: Mapping[str, ChosenMethod],
    tiles: ChosenTiles,
    choose: Callable[[torch.Tensor], tuple[tuple[int, ...], ...]],
) -> Generator[Step, None, CloseUp]:
    """Explain tiles; ``choose`` says by logits (N, K) which classes of each tile."""
    pixels = torch.from_numpy(tiles.pixels).to(classifier.device)
    of_batches: list[torch.Tensor] = []
    apart: list[torch.Tensor] = []
    for batch in torch.split(pixels, BATCH):
        passed = classifier.run(batch, gradients=False)
        of_batches.append(passed.logits)
        disagreement = classifier.disagreement(passed)
        if disagreement is not None:
            apart.append(disagreement)
    logits = torch.cat(of_batches)
    wanted = choose(logits)
    probabilities = classifier.probabilities(logits).cpu().numpy()
    so_far = partial(CloseUp, tiles, logits.cpu().numpy(), probabilities, wanted)
    each_tile = torch.split(pixels, 1)
    maps: dict[str, list[Map]] = {}
    facts: dict[str, list[Mapping[str, Any]]] = {}
    failed: dict[str, EntryFailedError] = {}
    for name, chosen in methods.items():
        of_tiles: list[Explanation] = []
        try:
            for tile, indices in zip(each_tile, wanted, strict=True):
                of_tiles.append((yield from chosen.steps(classifier, tile, indices)))
        except EntryFailedError as error:
            failed[name] = error
            continue
        maps[name] = [one.maps[0].detach().float().cpu().numpy() for one in of_tiles]
        facts[name] = [{**one.facts, "passes": one.passes} for one in of_tiles]
        for number, found in enumerate(maps[name]):
            refuse_no_numbers(found, name, [number] * len(found))
        done = so_far(dict(maps), dict(facts))
        yield MapsSoFar(title_of(name), len(maps), len(methods), found=done)
    if not maps:
        raise next(iter(failed.values()))
    neighbours: list[tuple[NeighbourAccount, ...]] = []
    if has_neighbours(classifier):
        for tile, some in zip(each_tile, wanted, strict=True):
            neighbours += neighbour_accounts(classifier, tile, some)
    return so_far(
        maps,
        facts,
        tuple(neighbours),
        failed,
        torch.cat(apart).float().cpu().numpy() if apart else None,
        (classifier.backend, *classifier.notes),
    )


def panel_rows(
    classifier: Classifier,
    found: CloseUp,
    number: int,
    methods: Mapping[str, ChosenMethod],
    spec: CurveSpec | None,
) -> list[PanelRow]:
    """Return a row of the panel for each class of one tile; without curves where spec is None."""
    facts = found.method_facts()
    rows = []
    for place, index in enumerate(found.classes[number]):
        maps = []
        for name in found.maps:
            values, method = found.maps[name][number][place], methods[name].method
            unit = unit_of(name, facts[name])
            maps.append(
                PanelMap(
                    name,
                    method.title,
                    values,
                    method.signed,
                    facts[name],
                    unit=unit,
                    notes=found.notes(name, number, place),
                    least=least_scale(unit, values.size),
                )
            )
        drawn: list[PanelCurves] = []
        if spec is not None:
            drawn = removal_curves(
                ClassScorer(classifier, index), found.tiles.pixels[number], maps, spec
            )
        rows.append(
            PanelRow(
                name=found.tiles.names[number],
                explained=classifier.card.class_names[index],
                captions=(_caption(classifier.card.classes, found, number, place),),
                pixels=found.tiles.pixels[number],
                maps=tuple(maps),
                curves=tuple(drawn),
            )
        )
    return rows


def _caption(known: ClassSet, found: CloseUp, number: int, place: int) -> str:
    """Return how probable a class of a tile is, what the tile is called, and what it hangs on."""
    values, label = found.probabilities[number].tolist(), found.tiles.labels[number]
    called = known.call(values)
    if not known.called_names(values) and len(known) > 1:
        called = known.caption(values)  # how near the likeliest came, where none of several is
    parts = [known.share(values[found.classes[number][place]]), f"predicted: {called}"]
    if label is not None:
        parts.append(f"labelled: {label}")
    if found.disagreement is not None:
        parts.append(words_on_disagreement(float(found.disagreement[number])))
    if found.neighbours:
        parts.append(found.neighbours[number][place].summary())
    return "; ".join(parts)


def removal_curves(
    scorer: ClassScorer,
    tile: NDArray[np.uint8],
    maps: Sequence[PanelMap],
    spec: CurveSpec,
) -> list[PanelCurves]:
    """Return each method's deletion and insertion curve on one tile, for each baseline."""
    classifier = scorer.classifier
    picture = normalised(torch.from_numpy(tile[None]).to(classifier.device), classifier.card)[0]
    size = (picture.shape[1], picture.shape[2])
    full = [enlarged(one.values, size) for one in maps]
    drawn = []
    for name in spec.baselines:
        under = BASELINES[name](picture)
        pairs = run_all(scorer, [curves(picture, under, values, spec.steps) for values in full])
        for one, (deletion, insertion) in zip(maps, pairs, strict=True):
            values = (deletion.fractions, deletion.values, insertion.values)
            drawn.append(PanelCurves(one.name, name, *values, deletion.auc, insertion.auc))
    return drawn


def write_close_up(
    folder: Path,
    found: Mapping[str, tuple[Card, CloseUp]],
    rows: Sequence[PanelRow],
) -> None:
    """Write the four files of one close-up, or of several models' by name; one needs no name."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, Any] = {}
    records = {}
    for model, (card, close_up) in found.items():
        records[model] = _record(card, close_up)
        for name, maps in close_up.maps.items():
            for number, values in enumerate(maps):
                arrays[f"{model}/{name}/{number}".lstrip("/")] = values
    with replacing(folder / "maps.npz") as fresh, fresh.open("wb") as file:
        np.savez_compressed(file, **arrays)
    drawn = []
    for row in rows:
        tile = {"tile": row.name, "class": row.explained}
        drawn += [tile | curve.record() for curve in row.curves]
    record = {**records.get("", {"models": records}), "curves": drawn}
    write_json(folder / "explanation.json", strict_json(record))
    title = " · ".join(model or card.name for model, (card, _close_up) in found.items())
    notes = list(dict.fromkeys(chain(*(_notes(card, one) for card, one in found.values()))))
    write_panel(rows[:SHOWN], folder, title=title, left_out=len(rows) - SHOWN, notes=notes)


def _notes(card: Card, found: CloseUp) -> tuple[str, ...]:
    return (*found.tiles.notes, *sight_notes(card.channels, card.stain))


def _record(card: Card, found: CloseUp) -> dict[str, Any]:
    record = {
        "model": card.name,
        "runs by": list(found.runs_by),
        "methods": _method_records(found),
        "facts": {name: list(map(dict, facts)) for name, facts in found.facts.items()},
        "notes": [*_notes(card, found), *_limits(card, found)],
        "tiles": [_tile_record(card, found, number) for number in range(len(found.tiles))],
    }
    if found.neighbours:
        record["neighbours"] = EXPLAINED
    if found.failed:
        record["failed"] = {name: _failed_record(error) for name, error in found.failed.items()}
    return record


def _method_records(found: CloseUp) -> dict[str, dict[str, Any]]:
    """Return by method its facts, what its maps show and in which unit."""
    records = {}
    for name, facts in found.method_facts().items():
        shown = {"unit": unit_of(name, facts), "shows": shown_by(name, facts)}
        records[name] = {**facts_record(facts), **shown}
    return records


def _limits(card: Card, found: CloseUp) -> Iterator[str]:
    """Yield a sentence for each map that shows little, or whose model fits badly."""
    for name in found.maps:
        for number, classes in enumerate(found.classes):
            for place, index in enumerate(classes):
                whose = f"{title_of(name)} of {card.class_names[index]}"
                for note in found.notes(name, number, place):
                    yield f"{whose} on {found.tiles.names[number]}: {note}."


def _failed_record(error: SlidecamError) -> dict[str, Any]:
    return {
        "problem": error.problem,
        "remedy": error.remedy,
        "traceback": error.traceback(),
    }


def _tile_record(card: Card, found: CloseUp, number: int) -> dict[str, Any]:
    tiles, probabilities = found.tiles, found.probabilities[number].tolist()
    record = {
        "name": tiles.names[number],
        "box": None if tiles.boxes is None else tiles.boxes[number].tolist(),
        "label": tiles.labels[number],
        "probabilities": dict(zip(card.class_names, probabilities, strict=True)),
        "called_classes": list(card.classes.called_names(probabilities)),
        "explained": [card.class_names[index] for index in found.classes[number]],
    }
    if found.disagreement is not None:
        record[DISAGREEMENT] = round(float(found.disagreement[number]), 6)
    if found.neighbours:
        accounts = found.neighbours[number]
        record["neighbours"] = [account.record(card.class_names) for account in accounts]
    return record
