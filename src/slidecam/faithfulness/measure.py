"""How far to trust maps: every method by every measure on some tiles, beside two references.

A method that is no better than chance, or than the middle of the picture, explains nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import UsageError
from slidecam.explain.catalogue import method_for
from slidecam.explain.facts import usual_methods
from slidecam.faithfulness.mapping import (
    PREDICTED,
    MethodMaps,
    explained_classes,
    maps_of_tiles,
)
from slidecam.faithfulness.removal import ClassScorer, CurveSpec
from slidecam.faithfulness.report import (
    CENTRE,
    RANDOM,
    FaithfulnessReport,
    Ledger,
    MethodFacts,
    random_title,
    share_of_masks,
)
from slidecam.faithfulness.spec import FaithfulnessSpec
from slidecam.faithfulness.stability import max_sensitivity
from slidecam.faithfulness.tile_measure import CHANGES, MAPS, MeasuredTile, measure_tile
from slidecam.models.card_parts import MapEvidence, MapJudgement
from slidecam.models.classifier import Classifier, normalised
from slidecam.steps import Step, result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from slidecam.explain.explainer import Explainer

    Grid = tuple[int, int]
    Masks = NDArray[np.bool_]
    Maps = NDArray[np.float32]

CENTRE_SPREAD = 0.25
"""Standard deviation of the centre prior as a share of each edge."""


def measure(
    classifier: Classifier,
    methods: Mapping[str, Explainer],
    tiles: Tensor,
    classes: str | Sequence[int] = PREDICTED,
    spec: FaithfulnessSpec | None = None,
    *,
    masks: Masks | None = None,
) -> Generator[Step, None, FaithfulnessReport]:
    """Measure step by step how faithful some methods' maps of some tiles are.

    Each tile is explained once by each method, and ``stability.repeats`` times more for
    max-sensitivity. At any time the maps of ``spec.batch`` tiles are in memory, and as many
    tampered tiles.

    Parameters
    ----------
    classifier
        On its device.
    methods
        Explainers of this classifier by what the report is to call them. They are entered here.
    tiles
        uint8, (N, H, W, 3), red, green, blue; H and W are the card's ``input_px``.
    classes
        What each tile is explained for: a class's name, ``predicted``, or an index for each tile,
        such as its true class.
    spec
        What to measure, and how; None for the defaults.
    masks
        (N, H, W), where the class is; of a tile with an empty mask nothing is said that needs one.

    Raises
    ------
    UsageError
        If there is no tile, no such class, or masks of another shape than the tiles'.
    ExplanationError
        If a method refuses the classifier.
    """
    _check(methods, tiles, masks)
    spec = spec or FaithfulnessSpec()
    indices, explained = explained_classes(classifier, tiles, classes, batch=spec.batch)
    work = _Measurement(classifier, methods, spec)
    mask_share = float("nan")
    if masks is not None:
        mask_share = share_of_masks(masks)
    masked = None
    for start in range(0, len(tiles), spec.batch):
        some = slice(start, start + spec.batch)
        if masks is not None:
            masked = masks[some]
        chunk = _Chunk(start, tiles[some].to(classifier.device), indices[some], masked)
        yield from work.take(chunk, len(tiles))
    return work.report(explained, len(tiles), mask_share)


QUICK = FaithfulnessSpec(
    measures=("deletion", "insertion", "correlation", "sensitivity-n"),
    seeds=(0,),
    curves=CurveSpec(steps=14),
)
"""What is measured where it is done along with something else: one draw, and no ROAD, whose
systems of equations take longer than all the passes."""

FEWEST, MOST = 8, 24
"""Tiles without which nothing is measured along the way, and those that suffice."""


def measure_heatmaps(
    classifier: Classifier,
    tiles: Tensor,
    classes: Sequence[int],
    on: str,
) -> Generator[Step, None, MapEvidence | None]:
    """Measure the heatmaps that `predict` makes where no method is named, for a card.

    Parameters
    ----------
    classifier
        On its device.
    tiles, classes
        As `measure` takes them.
    on
        What the tiles are, in words.

    Returns
    -------
    MapEvidence
        None where there is no map, or fewer than `FEWEST` tiles.
    """
    if not classifier.has_map or len(tiles) < FEWEST:
        return None
    methods = {}
    for name in usual_methods(classifier.card, linear=classifier.linear_head is not None):
        entry = method_for(name)
        methods[name] = entry.make(classifier, entry.spec())
    report = yield from measure(classifier, methods, tiles, classes, QUICK)
    return evidence_of(report, on)


def evidence_of(report: FaithfulnessReport, on: str) -> MapEvidence:
    """Return what a card keeps of a report, whose tiles are called ``on``."""
    found = {}
    for method in report.methods:
        if not method.reference:
            counts = Counter(report.verdicts(method.name))
            found[method.name] = MapJudgement(
                measures=counts.total(), better=counts["better"], worse=counts["worse"]
            )
    return MapEvidence(on=on, explained=report.explained, methods=found)


def random_map(seed: int | Sequence[int], shape: Grid) -> Maps:
    """Return a map (h, w) of independent values, uniform in 0-1; equal seeds give equal maps."""
    return np.random.default_rng(seed).random(shape, np.float32)


def centre_prior(shape: Grid) -> Maps:
    """Return a map (h, w) that is 1 in the middle and falls to its borders as a Gaussian."""
    height, width = shape
    rows = ((np.arange(height) + 0.5) / height - 0.5) / CENTRE_SPREAD
    columns = ((np.arange(width) + 0.5) / width - 0.5) / CENTRE_SPREAD
    fall: NDArray[np.float64] = np.exp(-(np.square(rows)[:, None] + np.square(columns)) / 2)
    return fall.astype(np.float32)


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Tiles that are explained together; ``first`` is the first one's place among all."""

    first: int
    pixels: Tensor
    classes: Sequence[int]
    masks: Masks | None

    @property
    def places(self) -> range:
        return range(self.first, self.first + len(self.pixels))


@dataclass(frozen=True, eq=False)
class _Measurement:
    """A measurement under way: by which methods, and what was found so far."""

    classifier: Classifier
    methods: Mapping[str, Explainer]
    spec: FaithfulnessSpec
    ledger: Ledger = field(default_factory=Ledger)
    facts: dict[str, MethodFacts] = field(default_factory=dict)

    def take(self, chunk: _Chunk, total: int) -> Generator[Step, None, None]:
        """Explain a chunk of tiles by every method, then measure tile by tile."""
        maps: dict[str, Maps] = {}
        for name, explainer in self.methods.items():
            found = yield from maps_of_tiles(
                explainer,
                chunk.pixels,
                chunk.classes,
                batch=self.spec.batch,
            )
            maps[name] = found.maps
            self._note(name, found)
        for place, tile in enumerate(self._tiles(chunk)):
            self.ledger.add(measure_tile(tile, self._beside(maps, place, tile)))
            yield Step("tiles", tile.number + 1, total)
        if self.spec.wants("max-sensitivity"):
            yield from self._shake(chunk, maps)

    def report(self, explained: str, tiles: int, mask_share: float) -> FaithfulnessReport:
        """Return everything that was found."""
        output = "logit"
        if self.classifier.card.activation != "none":
            output = f"{self.classifier.card.activation} probability"
        titles = [*map(random_title, self._grids()), CENTRE]
        references = [MethodFacts(name, reference=True) for name in titles]
        return FaithfulnessReport(
            classifier=self.classifier.card.name,
            output=output,
            explained=explained,
            tiles=tiles,
            mask_share=mask_share,
            methods=(*self.facts.values(), *references),
            findings=self.ledger.findings({name: one.random for name, one in self.facts.items()}),
            curves=self.ledger.mean_curves(),
            settings=asdict(self.spec),
            runs_by=(self.classifier.backend, *self.classifier.notes),
        )

    def _note(self, name: str, found: MethodMaps) -> None:
        grid = self.spec.random_grid or (found.maps.shape[1], found.maps.shape[2])
        facts = MethodFacts(
            name,
            reference=False,
            grid=grid,
            passes=found.passes,
            facts=found.facts,
        )
        self.facts.setdefault(name, facts)

    def _grids(self) -> list[Grid]:
        """Return the grids that random maps are drawn on."""
        return list(dict.fromkeys(one.grid for one in self.facts.values()))

    def _tiles(self, chunk: _Chunk) -> Iterator[MeasuredTile]:
        pictures = normalised(chunk.pixels, self.classifier.card)
        mask = None
        for place, (picture, index) in enumerate(zip(pictures, chunk.classes, strict=True)):
            if chunk.masks is not None:
                mask = chunk.masks[place]
            scorer = ClassScorer(self.classifier, index, self.spec.batch)
            yield MeasuredTile(picture, scorer, chunk.first + place, mask, self.spec)

    def _beside(
        self,
        maps: Mapping[str, Maps],
        place: int,
        tile: MeasuredTile,
    ) -> dict[str, list[Maps]]:
        """Return one tile's maps by method, with the references', one per seed if random."""
        beside = {name: [found[place]] for name, found in maps.items()}
        for grid in self._grids():
            drawn = [random_map((seed, tile.number, MAPS), grid) for seed in self.spec.seeds]
            beside[random_title(grid)] = drawn
        beside[CENTRE] = [centre_prior(tile.size)]
        return beside

    def _shake(self, chunk: _Chunk, maps: Mapping[str, Maps]) -> Generator[Step, None, None]:
        """Measure max-sensitivity of every method and of the references.

        That of the references is known, but not to everyone.
        """
        left = self.spec.stability.tiles - chunk.first
        if left <= 0:
            return
        chunk = replace(chunk, pixels=chunk.pixels[:left], classes=chunk.classes[:left], masks=None)
        seed = self.spec.seeds[0]
        explains: dict[str, Callable[[Tensor], Maps]] = {}
        for name, explainer in self.methods.items():
            explains[name] = partial(_explain_anew, explainer, chunk.classes, self.spec.batch)
        for grid in self._grids():
            rng = np.random.default_rng((seed, chunk.first, MAPS))
            explains[random_title(grid)] = partial(_draw, rng, grid)
        explains[CENTRE] = lambda pixels: np.ones((len(pixels), 1, 1), np.float32)
        for name, explain in explains.items():
            rngs = [np.random.default_rng((seed, place, CHANGES)) for place in chunk.places]
            original = None
            if name in maps:
                original = maps[name][: len(chunk.pixels)]
            worst = yield from max_sensitivity(
                explain, chunk.pixels, self.spec.stability, rngs, original
            )
            for value in worst:
                self.ledger.note(name, "max-sensitivity", value)


def _explain_anew(explainer: Explainer, classes: Sequence[int], batch: int, pixels: Tensor) -> Maps:
    return result_of(maps_of_tiles(explainer, pixels, classes, batch=batch)).maps


def _draw(rng: np.random.Generator, grid: Grid, pixels: Tensor) -> Maps:
    """Return other random maps each time."""
    return rng.random((len(pixels), *grid), np.float32)


def _check(methods: Mapping[str, Explainer], tiles: Tensor, masks: Masks | None) -> None:
    if not methods or not len(tiles):
        raise UsageError("there is nothing to measure.", "Name at least one method and one tile.")
    if masks is not None and masks.shape != tuple(tiles.shape[:3]):
        problem = f"masks are {masks.shape}, and tiles are {tuple(tiles.shape[:3])}."
        raise UsageError(problem, "Give a mask of each tile, on the tile's pixels.")
    for name in methods:
        if name == CENTRE or name.startswith(RANDOM):
            problem = f"a method is called {name!r}, as a reference is."
            raise UsageError(problem, "Call it something else.")
