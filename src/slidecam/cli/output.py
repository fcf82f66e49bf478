"""How the command line's texts are read, and in what words its results are shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from slidecam.class_names import NONE_CALLED, listed_names, normal_name
from slidecam.errors import UsageError
from slidecam.explain.facts import Spread, facts_in_words
from slidecam.geometry import Box, Size
from slidecam.options import EVERY_METHOD
from slidecam.parsing import ParseError, json_of
from slidecam.runs.legend import PARTS_MEAN, SHARE_MEANS
from slidecam.settings import NotTakenError, from_text, words_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from slidecam.close_up.findings import CloseUp
    from slidecam.evaluation.slides import SlideEvaluation
    from slidecam.evaluation.volumes import MaskFigures, VolumeEvaluation
    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.training.training import Trained
    from slidecam.runs import Legend, RunComparison
    from slidecam.runs.legend import LegendRow, UncalledRow
    from slidecam.settings import Hint
    from slidecam.teaching import FineTuned, Suggestion
    from slidecam.tile_sets import TileSet

Pair = tuple[float, float]
Three = tuple[float, float, float]

FIRST_FIGURES = (
    "accuracy",
    "balanced accuracy",
    "weighted F1",
    "macro F1",
    "macro AUC",
    "ECE",
)
"""The figures that the terminal shows; the report has them all."""


def class_names(text: str) -> tuple[str, ...]:
    """Return the names in ``A,B,C``, or in the lines of the file named after ``@``.

    A name with a comma stands in quotes (see `listed_names`), or on a line of the file.
    """
    if not text.startswith("@"):
        return listed_names(text)
    path = Path(text[1:])
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--classes {text}: {error}.", "Name a text file with one class per line."
        ) from error
    return tuple(normal_name(line.strip()) for line in lines if line.strip())


def places(texts: list[str]) -> tuple[tuple[float, float], ...]:
    """Return places written as ``X,Y``, level-0 pixels; UsageError if one is not."""
    return tuple(_read("--at", text, Pair, "12000,8000") for text in texts)


def channel_numbers(option: str, text: str | None) -> Three | tuple[float] | None:
    """Return the numbers in ``R,G,B``, or the one for grey, or None where nothing was said."""
    if text is None:
        return None
    kind: Hint = tuple[float]
    if "," in text:
        kind = Three
    return cast("Three", _read(option, text, kind, "0.5,0.5,0.5, or 0.5 for grey"))


def heatmap_scales(texts: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Return the scales in ``[METHOD=]LOW,HIGH`` texts by method.

    One without a name is every method's.
    """
    scales: dict[str, tuple[float, float]] = {}
    for text in texts:
        method, _equals, numbers = text.rpartition("=")
        low_high = _read("--heatmap-scale", numbers, Pair, "0,5 or cam=-5,5")
        scales[method.strip().lower() or EVERY_METHOD] = low_high
    return scales


def _read(option: str, text: str, kind: Hint, example: str) -> Any:  # noqa: ANN401  (of that kind)
    try:
        return from_text(text, kind)
    except NotTakenError as error:
        raise UsageError(
            f"{option} {text!r} is not {words_of(kind)}.", f"Pass {option} {example}."
        ) from error


def architecture_arguments(pairs: tuple[str, ...]) -> dict[str, object]:
    """Return what ``KEY=VALUE`` pairs mean; values are JSON where they can be, else text."""
    arguments: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            problem = f"--arch-arg {pair!r} is not KEY=VALUE."
            raise UsageError(problem, "Pass --arch-arg pad_type=same.")
        try:
            arguments[key] = json_of(value)
        except ParseError:
            arguments[key] = value
    return arguments


def size_shown(text: str | None) -> Size | None:
    """Return the size in ``WIDTHxHEIGHT``, or None where nothing was said."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,9})x([1-9]\d{0,9})", text.strip().lower())
    if match is None:
        raise UsageError(f"--shown {text!r} is no size.", "Pass --shown 40000x30000, in pixels.")
    return Size(int(match[1]), int(match[2]))


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


def pairs_of(option: str, pairs: Sequence[str]) -> dict[str, str]:
    """Return what ``THEIRS=OURS`` pairs say."""
    split = [pair.partition("=") for pair in pairs]
    for pair, (theirs, equals, ours) in zip(pairs, split, strict=True):
        if not (theirs and equals and ours):
            raise UsageError(
                f"{option} {pair!r} is not THEIRS=OURS.",
                f"Pass {option} carcinoma=tumour.",
            )
    return {normal_name(theirs): normal_name(ours) for theirs, _equals, ours in split}


def spreads_in_words(looked: Mapping[str, CloseUp]) -> Iterator[str]:
    """Yield a line for each method, of each model by name, whose facts differ from tile to tile."""
    for model, found in looked.items():
        for method, facts in found.method_facts().items():
            spreads = {name: each for name, each in facts.items() if isinstance(each, Spread)}
            if spreads:
                name = f"{model}: {method}" if model else method
                yield f"{name}, of {len(found.tiles)} tiles: {facts_in_words(spreads)}"


def training_facts(trained: Trained) -> dict[str, Any]:
    """Return what a training has made, and its first figures."""
    facts: dict[str, Any] = {
        "bundle": str(trained.bundle.path),
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "probabilities": trained.bundle.card.calibration,
    }
    for part, evaluation in trained.evaluations.items():
        facts |= {f"{part} {name}": str(evaluation.figures[name]) for name in FIRST_FIGURES}
        for name, said in _of_groups(evaluation).items():
            facts[f"{part} {name}"] = said
    return facts


def training_record(trained: Trained) -> dict[str, Any]:
    """Return the same for machines: every figure with its interval."""
    return {
        "event": "Trained",
        "bundle": str(trained.bundle.path),
        "digest": trained.bundle.digest,
        "epochs": len(trained.history),
        "best_epoch": trained.best_epoch,
        "temperature": trained.bundle.card.temperature,
        "notes": list(trained.notes),
        "probabilities": trained.bundle.card.calibration,
        **{part: evaluation.record() for part, evaluation in trained.evaluations.items()},
    }


def fold_facts(pooled: Evaluation, done: Sequence[Trained]) -> dict[str, Any]:
    """Return the first figures of a cross-validation, and of each fold."""
    facts: dict[str, Any] = {name: str(pooled.figures[name]) for name in FIRST_FIGURES}
    for name in FIRST_FIGURES[:3]:
        facts[f"{name} of each fold"] = [
            _short(trained.evaluations["test"].figures[name].value) for trained in done
        ]
    return facts


def slide_evaluation_facts(measured: SlideEvaluation) -> dict[str, Any]:
    """Return the tile figures, each class's areas, and what became of every slide."""
    facts = evaluation_facts(measured.tiles)
    facts["tiles"] = facts.pop("pictures")
    facts["area accuracy"] = _short(measured.areas.accuracy)
    for name, figures in measured.areas.figures().items():
        facts[f"area of {name}"] = ", ".join(
            f"{figure} {_short(value)}" for figure, value in figures.items()
        )
    for slide in measured.slides:
        facts[slide.slide] = slide.summary
    return facts


def evaluation_facts(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation's figures in words."""
    facts: dict[str, Any] = {"pictures": evaluation.pictures}
    if evaluation.measured:
        facts["measured"] = evaluation.measured
    for name, figure in evaluation.figures.items():
        if figure.value is not None:
            facts[name] = str(figure)
    return facts | _of_groups(evaluation) | evaluation.remarks


def _of_groups(evaluation: Evaluation) -> dict[str, Any]:
    """Return how intervals are made where pictures have patients: few of them say little."""
    if evaluation.predictions.groups is None:
        return {}
    return {"intervals": evaluation.method}


def tile_set_facts(made: TileSet) -> dict[str, Any]:
    """Return how many tiles there are of each class, and what became of every slide."""
    facts: dict[str, Any] = {"tiles": sum(made.tiles.values()), **made.tiles}
    for slide in made.slides:
        counts = [
            f"{sum(slide.tiles.values())} tiles",
            f"{slide.ambiguous} ambiguous",
            f"{slide.unannotated} not annotated",
        ]
        if slide.failed:
            counts.append(f"{len(slide.failed)} failed")
        facts[slide.slide] = slide.problem or ", ".join(counts)
    return facts


def legend_facts(legend: Legend) -> dict[str, Any]:
    """Return each class's tiles and tissue, as called or from a threshold, in words."""
    facts: dict[str, Any] = {"tiles": f"{legend.tiles} classified, {legend.failed} failed"}
    counted, none = f"as called: {legend.rule}", NONE_CALLED
    if legend.threshold is not None:
        counted = f"from {legend.threshold:g}, whatever is called ({legend.rule})"
        none = f"none from {legend.threshold:g}"
    facts["counted"] = counted
    facts["shares"], tissue = PARTS_MEAN, "not known"
    if legend.tissue is not None:
        facts["shares"], tissue = SHARE_MEANS, _area(legend.tissue, legend.unit)
    for row in legend.rows:
        facts[row.name] = _tissue_words(row, legend)
    if legend.none_called.count:
        facts[none] = _tissue_words(legend.none_called, legend)
    facts[_whole(legend)] = _area(legend.classified, legend.unit)
    facts["tissue"] = tissue
    return facts | _notes(legend.notes)


def _whole(legend: Legend) -> str:
    """Return what shares are shares of."""
    if legend.tissue is None:
        return "classified part of the slide"
    return "classified tissue"


def _tissue_words(row: LegendRow | UncalledRow, legend: Legend) -> str:
    share = f"{row.share:.1%} of the {_whole(legend)}"
    return f"{row.count} tiles, {_area(row.area, legend.unit)} ({share})"


def comparison_facts(compared: RunComparison) -> dict[str, Any]:
    """Return what changed between two runs, in words."""
    facts: dict[str, Any] = {
        "tiles in both": len(compared.rows_after),
        "of another class": len(compared.changed),
        "agreement": _short(compared.agreement),
        "kappa": _short(compared.kappa),
    }
    if compared.called_otherwise is not None:
        facts["called otherwise"] = compared.called_otherwise
    rows = list(compared.classes)
    if compared.none_called is not None:
        rows.append(compared.none_called)
    facts["shares"] = SHARE_MEANS
    for one in rows:
        share = f"{one.share_before:.1%} to {one.share_after:.1%} of the classified tissue"
        facts[one.name] = f"{one.count_before} to {one.count_after} tiles, {share}"
    return facts | _notes(compared.notes)


def fine_tuning_facts(tuned: FineTuned) -> dict[str, Any]:
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
        facts["left out"] = tuned.measured.in_words
    return facts | _notes(tuned.notes)


def _notes(notes: Sequence[str]) -> dict[str, Any]:
    if notes:
        return {"note": " ".join(notes)}
    return {}


def suggestion_rows(suggestions: Sequence[Suggestion]) -> list[dict[str, Any]]:
    """Return a row for each tile, in a volume with its slice."""
    rows = []
    for one in suggestions:
        row: dict[str, Any] = {"tile": one.row}
        if one.plane is not None:
            row["slice"] = one.plane
        row |= {
            "x": one.box.x,
            "y": one.box.y,
            "width": one.box.width,
            "height": one.box.height,
            "uncertainty": round(one.uncertainty, 4),
            "classes": list(one.classes),
        }
        rows.append(row)
    return rows


def _area(area: float, unit: str) -> str:
    if unit == "µm²":
        return f"{area / 1e6:.4g} mm²"
    return f"{area:.4g} {unit}"


def _short(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.4g}"


def volume_facts(
    measured: VolumeEvaluation,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return how a volume's heatmaps lie to a mask.

    Its facts, and one row for each heatmap and class.
    """
    called = [f"{count} {name}" for name, count in measured.called_with_mask.items() if count]
    if measured.none_called_with_mask:
        called.append(f"{measured.none_called_with_mask} {NONE_CALLED}")
    facts: dict[str, Any] = {
        "mask": measured.mask,
        "mask_size": (
            f"{measured.mask_voxels} voxels, {measured.mask_ml:.3g} ml, in"
            f" {measured.slices_with_mask} slices"
        ),
        "volume_called": measured.called_words,
        "slices_with_mask_called": ", ".join(called),
    }
    facts |= _notes(measured.notes)
    return facts, [_volume_row(one) for one in measured.figures]


def _volume_row(one: MaskFigures) -> dict[str, Any]:
    if one.is_empty:
        nothing = dict.fromkeys(("energy (chance)", "peak", "slices hit", "Dice"))
        return {
            "method": one.method,
            "class": one.class_name,
            **nothing,
            "peak": "empty heatmap",
        }
    peak = f"{one.peak_distance_mm:.0f} mm off"
    if one.pointing:
        peak = "in it"
    return {
        "method": one.method,
        "class": one.class_name,
        "energy (chance)": f"{one.energy:.4f} ({one.chance_in_foreground:.4f})",
        "peak": peak,
        "slices hit": f"{one.slices_pointing * one.slices:.0f}/{one.slices}",
        "Dice": f"{one.dice:.4f}",
    }
