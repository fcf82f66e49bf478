"""``slidecam explain``: tiles by methods, side by side, with curves of each map's faithfulness."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from slidecam.close_up.methods import DEFAULT, choose_methods
from slidecam.close_up.tiles import BATCH, TileChoice, choose_tiles
from slidecam.errors import UsageError
from slidecam.explain.baselines import BASELINES
from slidecam.explain.facts import facts_of_tiles, facts_record
from slidecam.explain.neighbours import EXPLAINED, has_neighbours, neighbour_accounts
from slidecam.faithfulness.curves import CurveSpec, curves
from slidecam.faithfulness.mapping import enlarged, refuse_no_numbers
from slidecam.faithfulness.perturbation import ClassScorer, run_all
from slidecam.files import check_folder, replacing, strict_json, write_json
from slidecam.inference import choose_device
from slidecam.models import open_bundle
from slidecam.models.classifier import normalised
from slidecam.reports.panel import write_panel
from slidecam.reports.panel_rows import PanelCurves, PanelMap, PanelRow
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from numpy.typing import NDArray

    from slidecam.classes import ClassSet
    from slidecam.close_up.methods import ChosenMethod
    from slidecam.close_up.tiles import ChosenTiles
    from slidecam.explain.explainer import Explanation
    from slidecam.explain.neighbours import NeighbourAccount
    from slidecam.models import Card, Classifier

OUTPUTS = ("panel.html", "panel.png", "explanation.json", "maps.npz")
SHOWN = 24
"""Rows of the panel; all maps are in ``maps.npz``."""


@dataclass(frozen=True)
class CloseUpSpec:
    """What `explain_tiles` may be told.

    Attributes
    ----------
    methods, settings
        Names of the catalogue, and ``METHOD.KEY=VALUE`` texts.
    classes
        Names of the classes to explain; empty for each tile's predicted class.
    tiles
        Which tiles.
    curves
        Steps and baselines of the deletion and insertion curves; None leaves them out.
    device, trust, overwrite
        As in `PredictSpec`; whether an earlier close-up may be replaced.
    """

    methods: tuple[str, ...] = DEFAULT
    settings: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    tiles: TileChoice = field(default_factory=TileChoice)
    curves: CurveSpec | None = field(default_factory=CurveSpec)
    device: str = "auto"
    trust: bool = False
    overwrite: bool = False


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
    """

    tiles: ChosenTiles
    logits: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    classes: tuple[tuple[int, ...], ...]
    maps: Mapping[str, list[NDArray[np.float32]]]
    facts: Mapping[str, Sequence[Mapping[str, Any]]]
    neighbours: tuple[tuple[NeighbourAccount, ...], ...] = ()

    def method_facts(self) -> dict[str, dict[str, Any]]:
        """Return what must be said of each method's maps of all tiles; see `facts_of_tiles`."""
        return {name: facts_of_tiles(each) for name, each in self.facts.items()}


def explain_tiles(
    source: str | Path, model: str | Path, out: str | Path, spec: CloseUpSpec | None = None
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
    spec, folder = spec or CloseUpSpec(), Path(out)
    refuse_existing(folder, OUTPUTS, overwrite=spec.overwrite)
    methods = choose_methods(spec.methods, spec.settings)
    classifier = open_bundle(model, trust=spec.trust).classifier(choose_device(spec.device))
    classes = class_indices(classifier.card, spec.classes)
    for chosen in methods.values():
        chosen.explainer(classifier)  # a wrong setting is found before anything is read
    tiles = yield from choose_tiles(source, classifier, spec.tiles)
    found = yield from explained(
        classifier, methods, tiles, lambda logits: wanted_classes(classifier, logits, classes)
    )
    rows = []
    for number in range(len(tiles)):
        rows += panel_rows(classifier, found, number, methods, spec)
        yield Step("curves", number + 1, len(tiles))
    write_close_up(folder, {"": (classifier.card, found)}, rows)
    return found


def refuse_existing(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Refuse to replace an earlier result unless told to; UsageError."""
    check_folder(folder)
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise UsageError(
            f"{folder / there[0]} exists already.",
            "Pass --overwrite to replace it, or another --out.",
        )


def class_indices(card: Card, names: Sequence[str]) -> tuple[int, ...]:
    """Return the places of some classes; UsageError, listing them, if one is not the card's."""
    for name in names:
        if name not in card.classes:
            known = ", ".join(card.class_names[:16])
            raise UsageError(f"{card.name} has no class {name!r}.", f"Its classes are: {known}.")
    return tuple(map(card.classes.index, names))


def wanted_classes(
    classifier: Classifier, logits: torch.Tensor, classes: tuple[int, ...]
) -> tuple[tuple[int, ...], ...]:
    """Return, for each tile's logits (K,), the classes that were asked for.

    Where none was, the predicted one; where none is called, the most probable one.
    """
    if classes:
        return (tuple(dict.fromkeys(classes)),) * len(logits)
    known = classifier.card.classes
    return tuple((known.foremost(row),) for row in classifier.probabilities(logits).tolist())


def explained(
    classifier: Classifier,
    methods: Mapping[str, ChosenMethod],
    tiles: ChosenTiles,
    choose: Callable[[torch.Tensor], tuple[tuple[int, ...], ...]],
) -> Generator[Step, None, CloseUp]:
    """Explain tiles; ``choose`` says by logits (N, K) which classes of each tile."""
    pixels = torch.from_numpy(tiles.pixels).to(classifier.device)
    logits = torch.cat(
        [classifier.run(some, gradients=False).logits for some in torch.split(pixels, BATCH)]
    )
    wanted = choose(logits)
    maps: dict[str, list[NDArray[np.float32]]] = {}
    facts: dict[str, list[Mapping[str, Any]]] = {}
    for name, chosen in methods.items():
        maps[name], facts[name] = [], []
        for number, tile in enumerate(torch.split(pixels, 1)):
            with chosen.explainer(classifier) as explainer:
                explanation: Explanation = yield from explainer.steps(tile, wanted[number])
            found = explanation.maps[0].detach().float().cpu().numpy()
            refuse_no_numbers(found, name, [number] * len(found))
            maps[name].append(found)
            facts[name].append({**explanation.facts, "passes": explanation.passes})
    probabilities = classifier.probabilities(logits)
    neighbours = _neighbours(classifier, pixels, wanted) if has_neighbours(classifier) else ()
    return CloseUp(
        tiles, logits.cpu().numpy(), probabilities.cpu().numpy(), wanted, maps, facts, neighbours
    )


def _neighbours(
    classifier: Classifier, pixels: torch.Tensor, wanted: Sequence[tuple[int, ...]]
) -> tuple[tuple[NeighbourAccount, ...], ...]:
    tiles = torch.split(pixels, 1)
    return tuple(
        neighbour_accounts(classifier, tile, some)[0]
        for tile, some in zip(tiles, wanted, strict=True)
    )


def panel_rows(
    classifier: Classifier,
    found: CloseUp,
    number: int,
    methods: Mapping[str, ChosenMethod],
    spec: CloseUpSpec,
) -> list[PanelRow]:
    """Return a row of the panel for each class of one tile."""
    known, rows = classifier.card.classes, []
    values, facts = found.probabilities[number].tolist(), found.method_facts()
    for place, index in enumerate(found.classes[number]):
        maps = {name: found.maps[name][number][place] for name in methods}
        caption = f"{known.share(values[index])}; predicted: {_predicted(known, values)}"
        if found.tiles.labels[number] is not None:
            caption += f"; labelled: {found.tiles.labels[number]}"
        graph = f"; {found.neighbours[number][place].summary()}" if found.neighbours else ""
        rows.append(
            PanelRow(
                name=found.tiles.names[number],
                explained=known.names[index],
                captions=(caption + graph,),
                pixels=found.tiles.pixels[number],
                maps=tuple(
                    PanelMap(
                        name,
                        method.method.title,
                        maps[name],
                        signed=method.method.signed,
                        facts=facts[name],
                    )
                    for name, method in methods.items()
                ),
                curves=()
                if spec.curves is None
                else _curves(classifier, found, number, index, maps, spec.curves),
            )
        )
    return rows


def _predicted(known: ClassSet, values: Sequence[float]) -> str:
    """Return what a tile is called; how near the likeliest came, where none of several is."""
    called = known.call(values)
    return called if known.called_names(values) or len(known) == 1 else known.caption(values)


def _curves(
    classifier: Classifier,
    found: CloseUp,
    number: int,
    index: int,
    maps: Mapping[str, NDArray[np.float32]],
    spec: CurveSpec,
) -> tuple[PanelCurves, ...]:
    """Return each method's deletion and insertion curve on one tile, for each baseline."""
    pixels = torch.from_numpy(found.tiles.pixels[number : number + 1]).to(classifier.device)
    picture = normalised(pixels, classifier.card)[0]
    size = (picture.shape[1], picture.shape[2])
    drawn = []
    for baseline in spec.baselines:
        under = BASELINES[baseline](picture)
        queries = [
            curves(picture, under, enlarged(values, size), spec.steps) for values in maps.values()
        ]
        pairs = run_all(ClassScorer(classifier, index), queries)
        drawn += [
            PanelCurves(
                name,
                baseline,
                deletion.fractions,
                deletion.values,
                insertion.values,
                deletion.auc,
                insertion.auc,
            )
            for name, (deletion, insertion) in zip(maps, pairs, strict=True)
        ]
    return tuple(drawn)


def write_close_up(
    folder: Path, found: Mapping[str, tuple[Card, CloseUp]], rows: Sequence[PanelRow]
) -> None:
    """Write the four files of one close-up, or of several models' by name; one needs no name."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "maps.npz") as fresh, fresh.open("wb") as file:
        arrays = {
            f"{model}/{name}/{number}".lstrip("/"): values
            for model, (_card, close_up) in found.items()
            for name, maps in close_up.maps.items()
            for number, values in enumerate(maps)
        }
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    records = {model: _record(card, close_up) for model, (card, close_up) in found.items()}
    curves = [
        {"tile": row.name, "class": row.explained, **curve.told()}
        for row in rows
        for curve in row.curves
    ]
    told = {**records.get("", {"models": records}), "curves": curves}
    write_json(folder / "explanation.json", strict_json(told))
    title = " · ".join(model or card.name for model, (card, _close_up) in found.items())
    write_panel(rows[:SHOWN], folder, title=title, left_out=len(rows) - SHOWN)


def _record(card: Card, found: CloseUp) -> dict[str, Any]:
    tiles = found.tiles
    return {
        "model": card.name,
        "methods": {name: facts_record(facts) for name, facts in found.method_facts().items()},
        "facts": {name: [dict(each) for each in facts] for name, facts in found.facts.items()},
        "notes": list(tiles.notes),
        "tiles": [
            {
                "name": name,
                "box": None if tiles.boxes is None else tiles.boxes[number].tolist(),
                "label": tiles.labels[number],
                "probabilities": dict(
                    zip(card.class_names, map(float, found.probabilities[number]), strict=True)
                ),
                "called_classes": list(
                    card.classes.called_names(found.probabilities[number].tolist())
                ),
                "explained": [card.class_names[index] for index in found.classes[number]],
                **_neighbour_records(card, found, number),
            }
            for number, name in enumerate(tiles.names)
        ],
        **({"neighbours": EXPLAINED} if found.neighbours else {}),
    }


def _neighbour_records(card: Card, found: CloseUp, number: int) -> dict[str, Any]:
    if not found.neighbours:
        return {}
    return {
        "neighbours": [account.record(card.class_names) for account in found.neighbours[number]]
    }
