"""Which tiles are looked at closely: of a slide, at places, in an area, or the most suspicious.

Or whole pictures.

A tile's pixels are those that ``predict`` would see: they come through the same stream.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import SlideFailedError, UsageError
from slidecam.foreground import ForegroundSpec, find_foreground, find_head, load_foreground
from slidecam.foreground.annotations import rasterise
from slidecam.foreground.classes import load_classes
from slidecam.geometry import Size
from slidecam.inference import classify
from slidecam.learning.data.picture_files import SUFFIXES
from slidecam.learning.data.pictures import load_pictures, read_picture_set
from slidecam.prediction.preparation import view_of
from slidecam.runs.spec import PredictSpec
from slidecam.sources import open_source, settle_spacing
from slidecam.sources.discovery import is_slide_folder
from slidecam.sources.volume import VolumeSource
from slidecam.steps import Step
from slidecam.streaming import StreamSpec, TileStream, plan_batches
from slidecam.tiling import TilingSpec, lay_at, lay_grid, lay_planes, lay_whole

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from numpy.typing import NDArray

    from slidecam.foreground import Foreground
    from slidecam.geometry import Axis, Spacing
    from slidecam.models import Card, Classifier
    from slidecam.sources import Source
    from slidecam.tiling import TileGrid

BATCH = 16
MOST = 64
"""Tiles of one close-up: dear methods take seconds to minutes for each."""


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
    random
        So many tiles of the tissue, drawn by ``seed``.
    of
        Name of the class that ``top`` means; None for the first class.
    most
        Tiles that are taken at most.
    seed
        Of ``random``.
    mpp, reader
        µm per level-0 pixel and reader, as in `PredictSpec`.
    masks
        GeoJSON of where classes are, or a folder of pictures' masks; for measures that need one.
    slices, axis
        Of a volume: numbers of its slices (as in ``slices.csv``), and along which axis (None: the
        card's).
    """

    at: tuple[tuple[float, float], ...] = ()
    region: Path | None = None
    top: int | None = None
    random: int | None = None
    of: str | None = None
    most: int = MOST
    seed: int = 0
    mpp: float | None = None
    reader: str | None = None
    masks: Path | None = None
    slices: tuple[int, ...] = ()
    axis: Axis | None = None

    def __post_init__(self) -> None:
        said = [
            bool(self.at or self.slices),
            self.region is not None,
            self.top is not None,
            self.random is not None,
        ]
        if sum(said) > 1:
            raise UsageError(
                "several ways to choose tiles were named.",
                "Pass one of --at, --region, --top, --random.",
            )
        for name, value in (("top", self.top), ("random", self.random), ("most", self.most)):
            if value is not None and value < 1:
                raise UsageError(f"--{name} {value} chooses nothing.", "Pass 1 or more.")


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
    source: str | Path, classifier: Classifier, choice: TileChoice
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
        raise UsageError(
            f"--masks {choice.masks}: there is no such file or folder.", "Check the path."
        )
    if holds_pictures(Path(source)):
        return (yield from _pictures(Path(source), classifier.card, choice))
    if choice.masks is not None and choice.of is None:
        raise UsageError("--masks was given without a class.", "Pass --class NAME.")
    view = view_of(classifier.card, PredictSpec(axis=choice.axis))
    with open_source(str(source), choice.reader, view) as opened:
        return (yield from _of_slide(opened, classifier, choice))


def holds_pictures(path: Path) -> bool:
    """Whether a source is a folder of pictures, and no slide or volume of its own."""
    return path.is_dir() and not is_slide_folder(path)


def _pictures(folder: Path, card: Card, choice: TileChoice) -> Generator[Step, None, ChosenTiles]:
    if choice.at or choice.region is not None or choice.top is not None:
        raise UsageError(
            f"{folder} holds pictures, which have no places.", "Pass --random N, or name one slide."
        )
    loose = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if loose and not any(path.is_dir() for path in folder.iterdir()):
        return (yield from _loose_pictures(loose, card, choice))
    pictures = read_picture_set(folder, fewest=1)  # nobody learns here
    chosen = pictures
    if any(part == "test" for part in pictures.parts):
        chosen = pictures.part("test")
    wanted = min(choice.random or choice.most, len(chosen))
    chosen = chosen.rows(_spread(chosen.labels, wanted, choice.seed))
    pixels = yield from load_pictures(chosen.paths, card.input_px, card.interpolation)
    return ChosenTiles(
        names=chosen.names,
        pixels=np.asarray(pixels),
        labels=tuple(chosen.class_names[label] for label in chosen.labels),
        masks=(
            None
            if choice.masks is None
            else _picture_masks(chosen.paths, choice.masks, card.input_px)
        ),
        notes=("from the test part",) if any(part == "test" for part in pictures.parts) else (),
    )


def _loose_pictures(
    paths: Sequence[Path], card: Card, choice: TileChoice
) -> Generator[Step, None, ChosenTiles]:
    """Return pictures that lie in a folder by themselves: nobody says of which class they are."""
    wanted = min(choice.random or choice.most, len(paths))
    rows = np.sort(np.random.default_rng(choice.seed).permutation(len(paths))[:wanted])
    chosen = [paths[row] for row in rows]
    pixels = yield from load_pictures(chosen, card.input_px, card.interpolation)
    if choice.masks is None:
        masks = None
    else:
        masks = _picture_masks(chosen, choice.masks, card.input_px)
    return ChosenTiles(
        tuple(path.name for path in chosen),
        np.asarray(pixels),
        labels=(None,) * wanted,
        masks=masks,
    )


def _spread(labels: NDArray[np.int64], wanted: int, seed: int) -> list[int]:
    """Draw rows without replacement, of all classes in turn.

    A measurement of one class alone says little.
    """
    draw = np.random.default_rng(seed)
    queues = [
        draw.permutation(np.flatnonzero(labels == label)).tolist() for label in np.unique(labels)
    ]
    rounds = [
        row
        for place in range(max(map(len, queues)))
        for queue in queues
        for row in queue[place : place + 1]
    ]
    return sorted(rounds[:wanted])


def _picture_masks(paths: Sequence[Path], folder: Path, edge: int) -> NDArray[np.bool_]:
    found = np.zeros((len(paths), edge, edge), np.bool_)
    for number, path in enumerate(paths):
        mask = folder / f"{path.stem}.png"
        if mask.exists():
            drawn = load_foreground(mask, Size(edge, edge))
            found[number] = _fitted(drawn, edge)
    return found


def _fitted(drawn: Foreground, edge: int) -> NDArray[np.bool_]:
    y, x = np.mgrid[0:edge, 0:edge] + 0.5
    return drawn.contains(np.stack([x.ravel(), y.ravel()], 1)).reshape(edge, edge)


def _of_slide(
    source: Source, classifier: Classifier, choice: TileChoice
) -> Generator[Step, None, ChosenTiles]:
    card, facts = classifier.card, source.facts
    if isinstance(source, VolumeSource):
        grid = yield from _on_volume(source, classifier, choice)
    elif card.spacing is None:
        grid = _whole_picture(source, card, choice)
    else:
        spacing = settle_spacing(facts, choice.mpp)
        tiling = TilingSpec(card.tile_px, card.spacing, card.input_px)
        grid = yield from _on_slide(source, spacing.spacing, tiling, classifier, choice)
    if not len(grid):
        raise UsageError(
            f"{facts.path}: no tile was chosen.", "Choose another area, or check the tissue."
        )
    pixels = yield from _read(source, grid, card)
    return ChosenTiles(
        names=_names(source, grid, card),
        pixels=pixels,
        boxes=grid.boxes,
        labels=(None,) * len(grid),
        masks=_slide_masks(source, grid, choice),
        notes=facts.notes,
        slices=() if facts.stack is None else tuple(grid.planes.tolist()),
    )


def _names(source: Source, grid: TileGrid, card: Card) -> tuple[str, ...]:
    name = source.facts.name
    if source.facts.stack is not None:
        return tuple(
            f"{name} {source.facts.stack.axis} slice {plane}" for plane in grid.planes.tolist()
        )
    if card.spacing is None:
        return (name,)
    return tuple(f"{name} x={x} y={y}" for x, y, *_size in grid.boxes.tolist())


def _on_volume(
    source: VolumeSource, classifier: Classifier, choice: TileChoice
) -> Generator[Step, None, TileGrid]:
    """Return whole slices: those named, the likeliest, some by chance, or the one in the middle."""
    if (
        choice.at
        or choice.region is not None
        or choice.masks is not None
        or classifier.card.spacing is not None
    ):
        problem = f"{source.facts.path} is a volume, of which whole slices are explained."
        raise UsageError(
            problem, "Pass --slice N, --top N or --random N, and a bundle that sees whole pictures."
        )
    grid = lay_planes(
        source.facts, find_head(source), classifier.card.input_px, PredictSpec().min_tissue
    )
    if choice.top is not None:
        return (yield from _top(source, grid, classifier, choice))
    if choice.random is not None:
        return grid.only(
            np.sort(np.random.default_rng(choice.seed).permutation(len(grid))[: choice.random])
        )
    if not choice.slices:
        return grid.only([len(grid) // 2] if len(grid) else [])
    rows = {int(plane): row for row, plane in enumerate(grid.planes)}
    empty = [plane for plane in choice.slices if plane not in rows]
    if empty:
        problem = (
            f"{source.facts.path}: slice {empty[0]} of {source.facts.planes} is none or holds no"
            " foreground."
        )
        raise UsageError(problem, "Look into slices.csv, where its status is done.")
    return grid.only([rows[plane] for plane in choice.slices])


def _whole_picture(source: Source, card: Card, choice: TileChoice) -> TileGrid:
    if choice.at or choice.region is not None or choice.top is not None:
        raise UsageError(
            f"{card.name} sees whole pictures, in which no tile is chosen.",
            "Name the picture alone.",
        )
    return lay_whole(source.facts, card.input_px)


def _on_slide(
    source: Source, spacing: Spacing, tiling: TilingSpec, classifier: Classifier, choice: TileChoice
) -> Generator[Step, None, TileGrid]:
    facts = source.facts
    if choice.at:
        return lay_at(facts, spacing, np.array(list(dict.fromkeys(choice.at)), np.float64), tiling)
    if choice.region is not None:
        bounds = facts.bounds
        if bounds is None:
            offset = (0.0, 0.0)
        else:
            offset = (float(bounds.x), float(bounds.y))
        area = load_foreground(choice.region, facts.size, offset)
        grid = lay_grid(facts, spacing, area, replace(tiling, min_tissue=0.5))
        if not len(grid):
            problem = (
                f"{choice.region}: no tile of {facts.path} lies in this area by more than half."
            )
            raise UsageError(
                problem, "Draw a larger area, or pass --at X,Y: a tile round that place."
            )
        return _at_most(grid, source, choice)
    tissue = find_foreground(source, spacing, ForegroundSpec())
    grid = lay_grid(facts, spacing, tissue, tiling)
    if choice.top is not None:
        return (yield from _top(source, grid, classifier, choice))
    if choice.random is None:
        raise UsageError(
            f"{facts.path} is a slide.", "Pass --at X,Y, --region FILE, --top N or --random N."
        )
    rows = np.random.default_rng(choice.seed).permutation(len(grid))[: choice.random]
    return grid.only(np.sort(rows))


def _at_most(grid: TileGrid, source: Source, choice: TileChoice) -> TileGrid:
    if len(grid) > choice.most:
        problem = (
            f"{source.facts.path}: {len(grid)} tiles lie in {choice.region}, more than"
            f" {choice.most}."
        )
        raise UsageError(problem, "Draw a smaller area, or pass --most.")
    return grid


def _top(
    source: Source, grid: TileGrid, classifier: Classifier, choice: TileChoice
) -> Generator[Step, None, TileGrid]:
    """Return the tiles of the highest probability, having asked the classifier of all."""
    index = _index(classifier.card, choice.of)
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
    order = np.argsort(-probabilities, kind="stable")
    kept = [row for row in order[: choice.top] if np.isfinite(probabilities[row])]
    return grid.only(kept)


def _index(card: Card, name: str | None) -> int:
    if name is not None and name not in card.classes:
        raise UsageError(
            f"{card.name} has no class {name!r}.",
            f"Its classes are: {', '.join(card.class_names[:16])}.",
        )
    if name is None:
        return 0
    return card.classes.index(name)


def _read(source: Source, grid: TileGrid, card: Card) -> Generator[Step, None, NDArray[np.uint8]]:
    pixels = np.zeros((len(grid), card.input_px, card.input_px, 3), np.uint8)
    batches = list(enumerate(plan_batches(source, grid, BATCH)))
    with TileStream(
        source, grid, batches, StreamSpec(BATCH, interpolation=card.interpolation)
    ) as stream:
        for batch in stream:
            if batch.failures:
                raise SlideFailedError(
                    source.facts.path, batch.failures[0].reason, "Choose other tiles."
                )
            pixels[batch.rows] = batch.pixels
            yield Step("reading tiles", batch.index + 1, len(batches))
    return pixels


def _slide_masks(source: Source, grid: TileGrid, choice: TileChoice) -> NDArray[np.bool_] | None:
    """Return where a class was drawn on each tile, on the tile's own pixels.

    None where nobody drew it.
    """
    path, name, bounds = choice.masks, choice.of, source.facts.bounds
    if path is None or name is None:
        return None
    if bounds is None:
        offset = (0.0, 0.0)
    else:
        offset = (float(bounds.x), float(bounds.y))
    areas = load_classes(path, source.facts.size, offset).areas.get(name, [])
    size, masks = Size(grid.input_px, grid.input_px), []
    for x, y, width, height in grid.boxes.tolist():
        scale = np.array([grid.input_px / width, grid.input_px / height])
        moved = [[(ring - (x, y)) * scale for ring in area] for area in areas]
        near = [area for area in moved if _meets(area[0], grid.input_px)]
        masks.append(
            rasterise(near, size, 1.0) if near else np.zeros((size.height, size.width), np.bool_)
        )
    return np.stack(masks)


def _meets(ring: NDArray[np.float64], edge: int) -> bool:
    return bool((ring.max(0) > 0).all() and (ring.min(0) < edge).all())
