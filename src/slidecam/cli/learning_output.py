"""What training, teaching and runs have to tell, as plain values shown to people and machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slidecam.classes import normal_name
from slidecam.errors import UsageError
from slidecam.evaluation.slides import SlideEvaluation
from slidecam.geometry import Box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.evaluation.volumes import VolumeEvaluation
    from slidecam.learning.evaluation.evaluation import Evaluation, Figure
    from slidecam.learning.training.training import Trained
    from slidecam.runs import Legend, RunComparison
    from slidecam.teaching import FineTuned, Suggestion
    from slidecam.tile_sets import TileSet

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
        facts[f"{name} of each fold"] = [
            _short(trained.evaluations["test"].figures[name].value) for trained in done
        ]
    return facts


def told_of(measured: Evaluation | SlideEvaluation) -> dict[str, Any]:
    """Return in words what an evaluation on pictures or on slides has found."""
    return (
        told_of_slides(measured)
        if isinstance(measured, SlideEvaluation)
        else told_of_evaluation(measured)
    )


def told_of_slides(measured: SlideEvaluation) -> dict[str, Any]:
    """Return the tile figures, each class's areas, and what became of every slide."""
    facts = told_of_evaluation(measured.tiles)
    facts["tiles"] = facts.pop("pictures")
    facts["area accuracy"] = _short(measured.areas.accuracy)
    for name, figures in measured.areas.figures().items():
        facts[f"area of {name}"] = ", ".join(
            f"{figure} {_short(value)}" for figure, value in figures.items()
        )
    for slide in measured.slides:
        facts[slide.slide] = (
            slide.problem or f"{slide.right} of {sum(slide.tiles.values())} tiles right"
        )
    return facts


def told_of_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation's figures in words."""
    facts: dict[str, Any] = {"pictures": evaluation.pictures}
    facts |= {
        name: _told(figure)
        for name, figure in evaluation.figures.items()
        if figure.value is not None
    }
    facts |= {f"not read: {failure.name}": failure.reason for failure in evaluation.failures}
    return facts


def told_of_tiles(made: TileSet) -> dict[str, Any]:
    """Return how many tiles there are of each class, and what became of every slide."""
    facts: dict[str, Any] = {"tiles": sum(made.tiles.values()), **made.tiles}
    for slide in made.slides:
        left = (
            f"{sum(slide.tiles.values())} tiles, {slide.ambiguous} ambiguous, {slide.unannotated}"
            " not annotated"
        )
        facts[slide.slide] = slide.problem or left + (
            f", {len(slide.failed)} failed" if slide.failed else ""
        )
    return facts


def told_of_legend(legend: Legend) -> dict[str, Any]:
    """Return each class's tiles and tissue at a threshold, in words."""
    facts: dict[str, Any] = {"tiles": f"{legend.tiles} classified, {legend.failed} failed"}
    for row in legend.rows:
        area = _area(row.area, legend.unit)
        facts[row.name] = (
            f"{row.count} tiles from {legend.threshold:g}, {area} ({row.share:.1%} of the tissue)"
        )
    notes = {"note": " ".join(legend.notes)} if legend.notes else {}
    return {**facts, "tissue": _area(legend.tissue, legend.unit), **notes}


def told_of_comparison(compared: RunComparison) -> dict[str, Any]:
    """Return what changed between two runs, in words."""
    facts: dict[str, Any] = {
        "tiles in both": len(compared.rows_after),
        "of another class": len(compared.changed),
        "agreement": _short(compared.agreement),
        "kappa": _short(compared.kappa),
    }
    for one in compared.classes:
        share = f"{one.share_before:.1%} to {one.share_after:.1%} of the tissue"
        facts[one.name] = f"{one.count_before} to {one.count_after} tiles, {share}"
    return {**facts, **({"note": " ".join(compared.notes)} if compared.notes else {})}


def told_of_fine_tuning(tuned: FineTuned) -> dict[str, Any]:
    """Return what a classifier learnt, in words."""
    facts: dict[str, Any] = {
        "labelled tiles": ", ".join(f"{name} {count}" for name, count in tuned.labelled.items()),
        "new classes": list(tuned.new_classes),
        "labelled tiles of another class now": tuned.changed,
        "right on its own labels": (
            f"{tuned.right_before:.1%}, now {tuned.right_after:.1%} (no measure of others)"
        ),
        "left out": tuned.unmeasured,
        "seconds": f"{tuned.seconds:.1f} ({tuned.embedded} tiles embedded)",
        "temperature": "1, not fitted",
    }
    if tuned.measured is not None:
        old, new = (
            one.figures["accuracy"] for one in (tuned.measured.before, tuned.measured.after)
        )
        facts["left out"] = (
            f"{tuned.measured.places} places: accuracy {_told(old)}, now {_told(new)}, on this"
            " slide"
        )
    return {**facts, **({"note": " ".join(tuned.notes)} if tuned.notes else {})}


def told_of_suggestions(suggestions: Sequence[Suggestion]) -> list[dict[str, Any]]:
    """Return a row for each tile."""
    return [
        {
            "tile": one.row,
            "x": one.box.x,
            "y": one.box.y,
            "width": one.box.width,
            "height": one.box.height,
            "uncertainty": round(one.uncertainty, 4),
            "classes": list(one.classes),
        }
        for one in suggestions
    ]


def box_of(text: str | None) -> Box | None:
    """Return the box in ``X,Y,WIDTH,HEIGHT``, or None where nothing was said."""
    if text is None:
        return None
    try:
        x, y, width, height = (int(part) for part in text.split(","))
    except ValueError as error:
        remedy = "Write X,Y,WIDTH,HEIGHT in level-0 pixels, for example 1000,700,1500,1000."
        raise UsageError(f"--region {text!r} is no region.", remedy) from error
    return Box(x, y, width, height)


def _area(area: float, unit: str) -> str:
    return f"{area / 1e6:.4g} mm²" if unit == "µm²" else f"{area:.4g} {unit}"


def pairs_of(option: str, pairs: Sequence[str]) -> dict[str, str]:
    """Return what ``THEIRS=OURS`` pairs say."""
    split = [pair.partition("=") for pair in pairs]
    for pair, (theirs, equals, ours) in zip(pairs, split, strict=True):
        if not (theirs and equals and ours):
            raise UsageError(
                f"{option} {pair!r} is not THEIRS=OURS.", f"Pass {option} carcinoma=tumour."
            )
    return {normal_name(theirs): normal_name(ours) for theirs, _equals, ours in split}


def _told(figure: Figure) -> str:
    if figure.interval is None:
        return _short(figure.value)
    return (
        f"{_short(figure.value)} ({_short(figure.interval.low)} to {_short(figure.interval.high)})"
    )


def _short(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def told_of_volume(measured: VolumeEvaluation) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return how a volume's heatmaps lie to a mask.

    Its facts, and one row for each heatmap and class.
    """
    called = ", ".join(
        f"{count} {name}" for name, count in measured.called_with_mask.items() if count
    )
    facts: dict[str, Any] = {
        "mask": measured.mask,
        "mask_size": (
            f"{measured.mask_voxels} voxels, {measured.mask_ml:.3g} ml, in"
            f" {measured.slices_with_mask} slices"
        ),
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
