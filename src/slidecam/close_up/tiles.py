"""Which tiles of a slide, slices of a volume, or whole pictures are looked at closely.

A tile's pixels are those that ``predict`` would see: they come through the same stream.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slidecam.close_up.masks import masks_of_slide, picture_masks
from slidecam.close_up.methods import class_indices
from slidecam.errors import SlideFailedError, UsageError
from slidecam.foreground import ForegroundSpec, find_foreground, find_head, load_foreground
from slidecam.foreground.classes import load_classes
from slidecam.inference import classify
from slidecam.learning.data.picture_files import SUFFIXES
from slidecam.learning.data.picture_tables import scale_notes
from slidecam.learning.data.pictures import drawn_of_all_classes, read_picture_set
from slidecam.learning.data.pixels import load_pictures, seen_by
from slidecam.prediction.choices import open_seen
from slidecam.runs.located import refuse_run
from slidecam.runs.spec import PredictSpec
from slidecam.sources import Source, SourceFacts, settle_spacing
from slidecam.sources.discovery import is_slide_folder
from slidecam.sources.volume import VolumeSource
from slidecam.steps import Step
from slidecam.streaming import StreamSpec, TileStream, plan_batches
from slidecam.tiling import TileGrid, TilingSpec, lay_at, lay_grid, lay_whole, shape_readings
from slidecam.viewing import AS_THE_FILE_SAYS, PictureView
from slidecam.volume_tiling import lay_planes

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from slidecam.geometry import Axis, Spacing
    from slidecam.models import Card, Classifier

BATCH, MOST = 16, 64
"""Tiles at once, and of one close-up: costly methods take seconds to minutes for each."""


@dataclass(frozen=True)
class TileChoice:
    """Which tiles: exactly one of ``at``, ``region``, ``top``, ``random``; none: a whole picture.

    Attributes
    ----------
    at
        Places x, y in level-0 pixels: a tile round each; one that is named twice is taken once.
    region
        GeoJSON (or PNG) of an area: the grid's tiles that lie in it by more than half.
    top
        So many tiles of the highest probability of ``of``.
    random, seed
        So many tiles of the tissue, drawn by ``seed``.
    of
        Name of the class that ``top`` means; None for the first class.
    most
        Tiles that are taken at most.
    mpp, reader, seen
        µm per level-0 pixel, reader and picture of the file, as in `PredictSpec`.
    masks
        GeoJSON of where classes are, or a folder of pictures' masks; for measures that need one.
    slices, axis
        Of a volume: numbers of its slices (as in ``slices.csv``), and along which axis (None: the
        card's).
    volume, keep_identifiers
        Which volume of several in a file, and whether names of a patient are shown, as in
        `PredictSpec`.
    """

    at: tuple[tuple[float, float], ...] = ()
    region: Path | None = None
    top: int | None = None
    random: int | None = None
    of: str | None = None
    most: int = MOST
    seed: int = 0
    mpp: Spacing | float | None = None
    reader: str | None = None
    masks: Path | None = None
    slices: tuple[int, ...] = ()
    axis: Axis | None = None
    volume: str | None = None
    keep_identifiers: bool = False
    seen: PictureView = AS_THE_FILE_SAYS

    def __post_init__(self) -> None:
        one_each = (self.at or self.slices or None, self.region, self.top, self.random)
        if len(one_each) - one_each.count(None) > 1:
            raise UsageError(
                "several ways to choose tiles were named.",
                "Pass one of --at, --region, --top, --random.",
            )
        for name, value in (("top", self.top), ("random", self.random), ("most", self.most)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value} chooses nothing.", "Pass 1 or more.")

    @property
    def marks(self) -> tuple[Path | None, ...]:
        """What is read beside the slide or pictures."""
        return self.region, self.masks


@dataclass(frozen=True, eq=False)
class ChosenTiles:
    """Tiles as the classifier sees them.

    Attributes
    ----------
    names
        One each: the slide's name and place, or the picture's path.
    pixels
        uint8, (N, input_px, input_px, 3).
    boxes
        int64, (N, 4), level-0 pixels; None for pictures of a folder.
    labels
        The class that each picture is known to be of, by name; None where nobody knows.
    masks
        bool, (N, input_px, input_px): where the class is; None where nobody drew it.
    notes
        What a reader should know, as sentences.
    slices
        Of a volume: the number of each tile's slice.
    """

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    boxes: NDArray[np.int64] | None = None
    labels: tuple[str | None, ...] = ()
    masks: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    slices: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.names)


def choose_tiles(
    source: str | Path,
    classifier: Classifier,
    choice: TileChoice,
) -> Generator[Step, None, ChosenTiles]:
    """Choose tiles of a slide, a picture, or a folder of pictures.

    Parameters
    ----------
    source
        A slide or picture; or a folder of class folders or a table, as `read_picture_set` takes it.
    classifier
        On its device. Its card says how tiles are cut; it is asked only where ``choice.top`` needs
        it.
    choice
        Which.

    Raises
    ------
    SlidecamError
        Whatever is wrong with the slide, or the choice leaves nothing.
    """
    if choice.masks is not None and not choice.masks.exists():
        problem = f"there is no such file or folder: --masks {choice.masks}."
        raise UsageError(problem, "Check the path.")
    if holds_pictures(Path(source)):
        refuse_run(Path(source))
        return (yield from _pictures(Path(source), classifier.card, choice))
    if choice.masks is not None and choice.of is None:
        raise UsageError("--masks was given without a class.", "Pass --class NAME.")
    kept = choice.keep_identifiers
    spec = PredictSpec(reader=choice.reader, axis=choice.axis, volume=choice.volume)
    spec = replace(spec, keep_identifiers=kept, **choice.seen.chosen)
    with open_seen(str(source), classifier.card, spec) as opened:
        return (yield from _of_slide(opened, classifier, choice))


def holds_pictures(path: Path) -> bool:
    """Whether a source is a folder of pictures, and no slide or volume of its own."""
    return path.is_dir() and not is_slide_folder(path)


def _pictures(folder: Path, card: Card, choice: TileChoice) -> Generator[Step, None, ChosenTiles]:
    if choice.at or choice.region is not None or choice.top is not None:
        problem = f"pictures have no places to choose: {folder}."
        raise UsageError(problem, "Pass --random N, or name one slide.")
    inside = sorted(folder.iterdir())
    loose = [path for path in inside if path.suffix.lower() in SUFFIXES]
    if loose and not any(map(Path.is_dir, inside)):
        rows = _drawn(len(loose), choice.random or choice.most, choice.seed)
        paths = [loose[row] for row in rows]
        names = tuple(path.name for path in paths)
        # Nobody says of which class they are.
        tiles = yield from _loaded(paths, names, (None,) * len(paths), card, choice)
        found = _masked(tiles, [path.name for path in loose], card, choice)
        return replace(found, notes=(*scale_notes(folder, card), *found.notes))

    pictures = read_picture_set(folder, fewest=1)  # nobody learns here
    everything = pictures.names
    notes = scale_notes(folder, card)
    if "test" in pictures.parts:
        pictures, notes = pictures.part("test"), ("from the test part", *notes)
    chosen = pictures.rows(
        drawn_of_all_classes(pictures.labels, choice.random or choice.most, choice.seed)
    )
    labels = tuple(chosen.class_names[label] for label in chosen.labels)
    tiles = yield from _loaded(chosen.paths, chosen.names, labels, card, choice)
    found = _masked(tiles, everything, card, choice)
    return replace(found, notes=(*notes, *found.notes))


def _loaded(
    paths: Sequence[Path],
    names: tuple[str, ...],
    labels: tuple[str | None, ...],
    card: Card,
    choice: TileChoice,
) -> Generator[Step, None, ChosenTiles]:
    seen = seen_by(card, choice.seen)
    pixels = yield from load_pictures(paths, card.input_px, card.interpolation, seen=seen)
    return ChosenTiles(names, np.asarray(pixels), labels=labels)


def _masked(
    tiles: ChosenTiles, names: Sequence[str], card: Card, choice: TileChoice
) -> ChosenTiles:
    """Return pictures with their masks, found by their names among all ``names`` of the data."""
    if choice.masks is None:
        return tiles
    found, notes = picture_masks(choice.masks, tiles.names, names, card.input_px)
    return replace(tiles, masks=found, notes=notes)


def _drawn(rows: int, wanted: int, seed: int) -> NDArray[np.int64]:
    """Return the numbers of some rows drawn without replacement, in their order."""
    return np.sort(np.random.default_rng(seed).permutation(rows)[:wanted])


def _of_slide(
    source: Source, classifier: Classifier, choice: TileChoice
) -> Generator[Step, None, ChosenTiles]:
    card, facts = classifier.card, source.facts
    notes = facts.readings
    if isinstance(source, VolumeSource):
        grid = yield from _on_volume(source, classifier, choice)
    elif card.spacing is None:
        grid = _whole_picture(source, card, choice)
    else:
        spacing = settle_spacing(facts, choice.mpp)
        tiling = TilingSpec(card.tile_px, card.spacing, card.input_px)
        grid = yield from _on_slide(source, spacing.spacing, tiling, classifier, choice)
        notes += shape_readings(spacing.spacing, grid)
        if spacing.warning:
            notes += (spacing.warning,)
    if not len(grid):
        problem = f"no tile was chosen of {facts.path}."
        raise UsageError(problem, "Choose another area, or check the tissue.")
    pixels = yield from _read(source, grid, card)
    masks = None
    if choice.masks is not None and choice.of is not None:
        drawn = load_classes(choice.masks, facts.size, _corner(facts))
        masks = drawn.masks(choice.of, grid.boxes, grid.input_px)
        notes += masks_of_slide(choice.masks, choice.of, drawn.names, masks)
    return ChosenTiles(
        names=_names(source, grid, card),
        pixels=pixels,
        boxes=grid.boxes,
        labels=(None,) * len(grid),
        masks=masks,
        notes=notes,
        slices=() if facts.stack is None else tuple(grid.planes.tolist()),
    )


def _corner(facts: SourceFacts) -> tuple[float, float]:
    """Return where QuPath counts from, level-0 pixels: the corner of the scanned bounds."""
    if facts.bounds is None:
        return 0.0, 0.0
    return float(facts.bounds.x), float(facts.bounds.y)


def _names(source: Source, grid: TileGrid, card: Card) -> tuple[str, ...]:
    name, stack = source.facts.name, source.facts.stack
    if stack is not None:
        return tuple(f"{name} {stack.axis} slice {plane}" for plane in grid.planes.tolist())
    if card.spacing is None:
        return (name,)
    return tuple(f"{name} x={x} y={y}" for x, y in grid.boxes[:, :2].tolist())


def _on_volume(
    source: VolumeSource, classifier: Classifier, choice: TileChoice
) -> Generator[Step, None, TileGrid]:
    """Return whole slices: those named, the likeliest, some by chance, or the one in the middle."""
    card, facts = classifier.card, source.facts
    places = choice.at or choice.region is not None or choice.masks is not None
    if places or card.spacing is not None:
        remedy = "Pass --slice N, --top N or --random N, and a bundle that sees whole pictures."
        raise UsageError(f"of a volume whole slices are explained: {facts.path}.", remedy)
    grid = lay_planes(facts, find_head(source), card.input_px, PredictSpec().min_tissue)
    if choice.top is not None:
        return (yield from _top(source, grid, classifier, choice))
    if choice.random is not None:
        return grid.only(_drawn(len(grid), choice.random, choice.seed))
    if not choice.slices:
        return grid.only([len(grid) // 2][: len(grid)])  # none of none

    planes = grid.planes.tolist()
    rows = []
    for plane in choice.slices:
        if plane not in planes:
            problem = f"slice {plane} of {facts.planes} is none or holds no foreground"
            remedy = "Look into slices.csv, where its status is done."
            raise UsageError(f"{problem}: {facts.path}.", remedy)
        rows.append(planes.index(plane))
    return grid.only(rows)


def _whole_picture(source: Source, card: Card, choice: TileChoice) -> TileGrid:
    if choice.at or choice.region is not None or choice.top is not None:
        problem = f"The model {card.name} sees whole pictures, in which no tile is chosen."
        raise UsageError(problem, "Name the picture alone.")
    return lay_whole(source.facts, card.input_px)


def _on_slide(
    source: Source,
    spacing: Spacing,
    tiling: TilingSpec,
    classifier: Classifier,
    choice: TileChoice,
) -> Generator[Step, None, TileGrid]:
    facts = source.facts
    if choice.at:
        return lay_at(facts, spacing, np.array(list(dict.fromkeys(choice.at)), np.float64), tiling)
    if choice.region is not None:
        area = load_foreground(choice.region, facts.size, _corner(facts))
        return _at_most(lay_grid(facts, spacing, area, replace(tiling, min_tissue=0.5)), choice)
    tissue = find_foreground(source, spacing, ForegroundSpec())
    grid = lay_grid(facts, spacing, tissue, tiling)
    if choice.top is not None:
        return (yield from _top(source, grid, classifier, choice))
    if choice.random is None:
        problem = f"tiles must be chosen of what is a slide: {facts.path}."
        raise UsageError(problem, "Pass --at X,Y, --region FILE, --top N or --random N.")
    return grid.only(_drawn(len(grid), choice.random, choice.seed))


def _at_most(grid: TileGrid, choice: TileChoice) -> TileGrid:
    if not len(grid):
        problem = f"no tile lies by more than half in the area of {choice.region}."
        remedy = "Draw a larger area, or pass --at X,Y: a tile round that place."
        raise UsageError(problem, remedy)
    if len(grid) > choice.most:
        problem = f"{len(grid)} tiles, more than {choice.most}, lie in the area of {choice.region}."
        raise UsageError(problem, "Draw a smaller area.")
    return grid


def _top(
    source: Source, grid: TileGrid, classifier: Classifier, choice: TileChoice
) -> Generator[Step, None, TileGrid]:
    """Return the tiles of the highest probability, having asked the classifier of all."""
    index = 0
    if choice.of is not None:
        (index,) = class_indices(classifier.card, [choice.of])
    probabilities = np.full(len(grid), -np.inf)
    batches = list(enumerate(plan_batches(source, grid, BATCH)))
    spec = StreamSpec(BATCH, interpolation=classifier.card.interpolation)
    done = 0
    with (
        TileStream(source, grid, batches, spec) as stream,
        closing(classify(stream, classifier, None)) as scores,
    ):
        for scored in scores:
            blanked = scored.results.blanked().probabilities[:, index]
            probabilities[scored.batch.rows] = np.where(np.isfinite(blanked), blanked, -np.inf)
            done += len(scored.batch.rows)
            yield Step("looking for the top tiles", done, len(grid))
    order = np.argsort(-probabilities, kind="stable")[: choice.top]
    return grid.only(order[np.isfinite(probabilities[order])])


def _read(source: Source, grid: TileGrid, card: Card) -> Generator[Step, None, NDArray[np.uint8]]:
    pixels = np.zeros((len(grid), card.input_px, card.input_px, 3), np.uint8)
    batches = list(enumerate(plan_batches(source, grid, BATCH)))
    spec = StreamSpec(BATCH, interpolation=card.interpolation)
    with TileStream(source, grid, batches, spec) as stream:
        for batch in stream:
            if batch.failures:
                reason = batch.failures[0].reason
                raise SlideFailedError(source.facts.path, reason, "Choose other tiles.")
            pixels[batch.rows] = batch.pixels
            yield Step("reading tiles", batch.index + 1, len(batches))
    return pixels
