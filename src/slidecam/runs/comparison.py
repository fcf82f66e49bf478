"""Two runs of one slide beside each other.

What changed between an old and a new classifier, and where.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from slidecam.class_names import NONE_CALLED
from slidecam.classes import NONE_COLOR, SEVERAL_CALLED
from slidecam.errors import UsageError
from slidecam.runs.legend import legend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.pixels import RGB
    from slidecam.runs.legend import LegendRow
    from slidecam.runs.run import Run

NONE = "(none)"
"""What a classified tile is called that no class wins: a classifier of one output said no."""


@dataclass(frozen=True)
class ClassChange:
    """One class before and after.

    Tiles that are called so, their own area in the legend's unit, its share of the tissue.
    """

    name: str
    color: RGB
    count_before: int
    count_after: int
    area_before: float
    area_after: float
    share_before: float
    share_after: float


@dataclass(frozen=True)
class ChangedTile:
    """A tile whose most probable class is another than before.

    Attributes
    ----------
    row, row_before
        Its places in the two runs, the new one first.
    box
        x, y, width, height in level-0 pixels.
    before, after
        The classes.
    p_before, p_after
        How probable each was in its own run.
    """

    row: int
    row_before: int
    box: tuple[int, int, int, int]
    before: str
    after: str
    p_before: float
    p_after: float


@dataclass(frozen=True, eq=False)
class RunComparison:
    """Two runs of one slide.

    Attributes
    ----------
    before, after
        Their folders.
    classes
        Of both classifiers, in the old one's order, new ones behind.
    rows_before, rows_after
        int64, (M,): the tiles that both runs classified.
    changed
        Those of another class now: first the ones of which both were surest. Of several classes
        that a tile is called, the most probable one counts here, and in what follows.
    agreement
        Share of these tiles that are of the same class; None if there is none.
    kappa
        Cohen's: agreement beyond chance; None where chance explains all.
    confusion
        int64, (K, K), over ``class_names``: rows before, columns after.
    class_names
        Names of ``confusion``; `NONE` among them if tiles are of no class.
    unit
        Of areas.
    notes
        What a reader should know, as sentences.
    none_called
        The tiles that are called none, as a class; None where there is none in either run.
    called_otherwise
        Tiles of both runs that are not called the very same classes; None where no tile of either
        can be called several.
    """

    before: str
    after: str
    classes: tuple[ClassChange, ...]
    rows_before: NDArray[np.int64]
    rows_after: NDArray[np.int64]
    changed: tuple[ChangedTile, ...]
    agreement: float | None
    kappa: float | None
    confusion: NDArray[np.int64]
    class_names: tuple[str, ...]
    unit: str
    notes: tuple[str, ...] = ()
    none_called: ClassChange | None = None
    called_otherwise: int | None = None

    def record(self) -> dict[str, Any]:
        """Return it as JSON values; what is None is left out of the last two."""
        more: dict[str, Any] = {}
        if self.none_called is not None:
            more["none called"] = asdict(self.none_called)
        if self.called_otherwise is not None:
            more["called otherwise"] = self.called_otherwise
        return {
            "before": self.before,
            "after": self.after,
            "tiles": len(self.rows_after),
            "changed": len(self.changed),
            "agreement": self.agreement,
            "kappa": self.kappa,
            "unit": self.unit,
            "classes": [asdict(each) for each in self.classes],
            "confusion": {
                "classes": list(self.class_names),
                "rows": "before",
                "columns": "after",
                "counts": self.confusion.tolist(),
            },
            "changed tiles": [asdict(tile) for tile in self.changed],
            "notes": list(self.notes),
            **more,
        }


def compare_runs(before: Run, after: Run) -> RunComparison:
    """Hold two runs of one slide beside each other.

    Tiles are compared where both runs have the very same box; areas and shares are those of each
    run as a whole.

    Raises
    ------
    UsageError
        If the runs are of two slides, or of two pictures of one file.
    """
    if before.fingerprint != after.fingerprint:
        raise UsageError(
            f"The runs are of two slides: {before.slide_path} in {before.folder} and"
            f" {after.slide_path} in {after.folder}.",
            "Compare two runs of one slide.",
        )
    if _picture(before) != _picture(after):
        raise UsageError(
            f"The runs are of two pictures of one file: {before.folder} and {after.folder}.",
            "Compare two runs of one picture, plane and time.",
        )
    old, new = _matched(before, after)
    names = _names(before, after, old, new)
    called = _called(before, old, names), _called(after, new, names)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, called, 1)
    agreement = None
    if len(old):
        agreement = float(np.trace(confusion) / len(old))
    return RunComparison(
        before=str(before.folder),
        after=str(after.folder),
        classes=_changes(before, after),
        rows_before=old,
        rows_after=new,
        changed=_changed(before, after, (old, new), called, names),
        agreement=agreement,
        kappa=_kappa(confusion),
        confusion=confusion,
        class_names=names,
        unit=legend(after).unit,
        notes=tuple(dict.fromkeys((*before.notes, *after.notes, *_notes(before, after, len(old))))),
        none_called=_none_change(before, after),
        called_otherwise=_called_otherwise((before, old), (after, new), names),
    )


def _picture(run: Run) -> tuple[object, ...]:
    """Return what tells a run's picture from others of its file, as far as its record says."""
    return run.record.input.size, run.seen.plane, run.seen.time


def _matched(before: Run, after: Run) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the tiles that both runs have classified, in the order of the new run."""
    places = {box: row for row, box in enumerate(map(tuple, before.tiles.boxes.tolist()))}
    found = [places.get(box, -1) for box in map(tuple, after.tiles.boxes.tolist())]
    old, new = np.array(found, np.int64), np.arange(len(found), dtype=np.int64)
    both = (old >= 0) & after.tiles.done
    both[both] = before.tiles.done[old[both]]
    return old[both], new[both]


def _names(
    before: Run,
    after: Run,
    old: NDArray[np.int64],
    new: NDArray[np.int64],
) -> tuple[str, ...]:
    names = dict.fromkeys((*before.tiles.class_names, *after.tiles.class_names))
    if (before.tiles.winners[old] < 0).any() or (after.tiles.winners[new] < 0).any():
        names[NONE] = None
    return tuple(names)


def _called(run: Run, rows: NDArray[np.int64], names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return which of ``names`` each tile is; -1, no winner, is the last of the table of places."""
    places = np.array(
        [*(names.index(name) for name in run.tiles.class_names), len(names) - 1],
        np.int64,
    )
    return np.asarray(places[run.tiles.winners[rows]])


def _called_otherwise(
    before: tuple[Run, NDArray[np.int64]],
    after: tuple[Run, NDArray[np.int64]],
    names: tuple[str, ...],
) -> int | None:
    """Return how many rows are not called the same ``names``; None where each is called one."""
    if not _may_be_several(before[0], after[0]):
        return None
    calls = []
    for run, rows in (before, after):
        called = np.zeros((len(rows), len(names)), np.bool_)
        places = [names.index(name) for name in run.tiles.class_names]
        called[:, places] = run.tiles.called[rows]
        calls.append(called)
    return int((calls[0] != calls[1]).any(axis=1).sum())


def _may_be_several(before: Run, after: Run) -> bool:
    return before.tiles.classes.may_be_several or after.tiles.classes.may_be_several


def _changed(
    before: Run,
    after: Run,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    called: tuple[NDArray[np.int64], NDArray[np.int64]],
    names: tuple[str, ...],
) -> tuple[ChangedTile, ...]:
    old, new = rows
    sure = _certainty(before, old), _certainty(after, new)
    places = np.flatnonzero(called[0] != called[1])
    order = places[np.argsort(-(sure[0] + sure[1])[places], kind="stable")]
    boxes = after.tiles.boxes
    return tuple(
        ChangedTile(
            row=int(new[place]),
            row_before=int(old[place]),
            box=(
                int(boxes[new[place], 0]),
                int(boxes[new[place], 1]),
                *map(int, boxes[new[place], 2:]),
            ),  # type: ignore[arg-type]  # four numbers
            before=names[called[0][place]],
            after=names[called[1][place]],
            p_before=float(sure[0][place]),
            p_after=float(sure[1][place]),
        )
        for place in order
    )


def _certainty(run: Run, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how probable each tile's class is; where none wins, how probable that is."""
    most = run.tiles.probabilities[rows].max(axis=1, initial=0.0).astype(np.float64)
    return np.asarray(np.where(run.tiles.winners[rows] < 0, 1 - most, most))


def _kappa(confusion: NDArray[np.int64]) -> float | None:
    total = confusion.sum()
    if not total:
        return None
    chance = float(confusion.sum(axis=0) @ confusion.sum(axis=1)) / float(total) ** 2
    agreed = float(np.trace(confusion) / total)
    if chance >= 1:
        return None
    return (agreed - chance) / (1 - chance)


def _changes(before: Run, after: Run) -> tuple[ClassChange, ...]:
    old, new = ({row.name: row for row in legend(run).rows} for run in (before, after))
    return tuple(
        _change(name, old.get(name), new.get(name)) for name in dict.fromkeys((*old, *new))
    )


def _change(name: str, old: LegendRow | None, new: LegendRow | None) -> ClassChange:
    known = new or old
    assert known is not None  # noqa: S101  (for the type checker: the name is one of both runs')
    count, area, share = _called_tiles(old)
    count_after, area_after, share_after = _called_tiles(new)
    return ClassChange(name, known.color, count, count_after, area, area_after, share, share_after)


def _called_tiles(row: LegendRow | None) -> tuple[int, float, float]:
    if row is None:
        return 0, 0.0, 0.0
    return row.called, row.called_area, row.called_share


def _none_change(before: Run, after: Run) -> ClassChange | None:
    old, new = legend(before).none_called, legend(after).none_called
    if not old.count and not new.count:
        return None
    return ClassChange(
        name=NONE_CALLED,
        color=NONE_COLOR,
        count_before=old.count,
        count_after=new.count,
        area_before=old.area,
        area_after=new.area,
        share_before=old.share,
        share_after=new.share,
    )


def _notes(before: Run, after: Run, both: int) -> list[str]:
    total = max(int(before.tiles.done.sum()), int(after.tiles.done.sum()))
    notes = []
    if both != total:
        notes.append(
            f"{both} of {total} tiles are in both runs; the others count in areas and shares alone."
        )
    if _may_be_several(before, after):
        several = [int(run.tiles.several_called.sum()) for run in (before, after)]
        notes.append(f"{SEVERAL_CALLED} ({several[0]} tiles before, {several[1]} after).")
        notes.append("another class, agreement and kappa are of each tile's most probable one.")
    return notes
