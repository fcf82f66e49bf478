"""What `train`, `evaluate` and `tiles` have to tell, as plain values that both people and machines are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slidecam.errors import UsageError
from slidecam.slide_evaluation import SlideEvaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.learning.evaluation import Evaluation, Figure
    from slidecam.learning.training import Trained
    from slidecam.tile_sets import TileSet
    from slidecam.volume_evaluation import VolumeEvaluation

TOLD = ("accuracy", "balanced accuracy", "weighted F1", "macro F1", "macro AUC", "ECE")
"""The figures that the terminal tells; the report has them all."""


def told_of_training(trained: Trained) -> dict[str, Any]:
    """Return what a training has made, and its first figures."""
    facts: dict[str, Any] = {
        "bundle": str(trained.bundle.path),
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "temperature": trained.bundle.card.temperature,
    }
    for part, evaluation in trained.evaluations.items():
        facts |= {f"{part} {name}": _told(evaluation.figures[name]) for name in TOLD}
    return facts


def record_of_training(trained: Trained) -> dict[str, Any]:
    """Return the same for machines: every figure with its interval."""
    return {
        "event": "Trained",
        "bundle": str(trained.bundle.path),
        "digest": trained.bundle.digest,
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "temperature": trained.bundle.card.temperature,
        **{part: evaluation.record() for part, evaluation in trained.evaluations.items()},
    }


def told_of_folds(pooled: Evaluation, done: Sequence[Trained]) -> dict[str, Any]:
    """Return the first figures of a cross-validation, and of each fold."""
    facts: dict[str, Any] = {name: _told(pooled.figures[name]) for name in TOLD}
    for name in TOLD[:3]:
        facts[f"{name} of each fold"] = [_short(trained.evaluations["test"].figures[name].value) for trained in done]
    return facts


def told_of(measured: Evaluation | SlideEvaluation) -> dict[str, Any]:
    """Return in words what an evaluation on pictures or on slides has found."""
    return told_of_slides(measured) if isinstance(measured, SlideEvaluation) else told_of_evaluation(measured)


def told_of_slides(measured: SlideEvaluation) -> dict[str, Any]:
    """Return the tile figures, each class's areas, and what became of every slide."""
    facts = told_of_evaluation(measured.tiles)
    facts["tiles"] = facts.pop("pictures")
    facts["area accuracy"] = _short(measured.areas.accuracy)
    for name, figures in measured.areas.figures().items():
        facts[f"area of {name}"] = ", ".join(f"{figure} {_short(value)}" for figure, value in figures.items())
    for slide in measured.slides:
        facts[slide.slide] = slide.problem or f"{slide.right} of {sum(slide.tiles.values())} tiles right"
    return facts


def told_of_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation's figures in words."""
    facts: dict[str, Any] = {"pictures": evaluation.pictures}
    facts |= {name: _told(figure) for name, figure in evaluation.figures.items() if figure.value is not None}
    facts |= {f"not read: {failure.name}": failure.reason for failure in evaluation.failures}
    return facts


def told_of_tiles(made: TileSet) -> dict[str, Any]:
    """Return how many tiles there are of each class, and what became of every slide."""
    facts: dict[str, Any] = {"tiles": sum(made.tiles.values()), **made.tiles}
    for slide in made.slides:
        left = f"{sum(slide.tiles.values())} tiles, {slide.ambiguous} ambiguous, {slide.unannotated} not annotated"
        facts[slide.slide] = slide.problem or left + (f", {len(slide.failed)} failed" if slide.failed else "")
    return facts


def pairs_of(option: str, pairs: Sequence[str]) -> dict[str, str]:
    """Return what ``THEIRS=OURS`` pairs say."""
    split = [pair.partition("=") for pair in pairs]
    for pair, (theirs, equals, ours) in zip(pairs, split, strict=True):
        if not (theirs and equals and ours):
            raise UsageError(f"{option} {pair!r} is not THEIRS=OURS.", f"Pass {option} carcinoma=tumour.")
    return {theirs: ours for theirs, _equals, ours in split}


def _told(figure: Figure) -> str:
    if figure.interval is None:
        return _short(figure.value)
    return f"{_short(figure.value)} ({_short(figure.interval.low)} to {_short(figure.interval.high)})"


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def told_of_volume(measured: VolumeEvaluation) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return how a volume's heatmaps lie to a mask: its facts, and one row for each heatmap and class."""
    called = ", ".join(f"{count} {name}" for name, count in measured.called_with_mask.items() if count)
    facts: dict[str, Any] = {
        "mask": measured.mask,
        "mask_size": f"{measured.mask_voxels} voxels, {measured.mask_ml:.3g} ml, in {measured.slices_with_mask} slices",
        "volume_called": measured.call["called"],
        "slices_with_mask_called": called,
    }
    facts |= {"note": " ".join(measured.notes)} if measured.notes else {}
    rows = [
        {
            "method": one.method,
            "class": one.class_name,
            "energy (chance)": f"{one.energy:.4f} ({one.chance_in_foreground:.4f})",
            "peak": "in it" if one.pointing else f"{one.peak_distance_mm:.0f} mm off",
            "slices hit": f"{one.slices_pointing * one.slices:.0f}/{one.slices}",
            "Dice": f"{one.dice:.4f}",
        }
        for one in measured.figures
    ]
    return facts, rows
