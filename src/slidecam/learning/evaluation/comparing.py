"""Bundles side by side on the same pictures: figures, curves, and whether they differ.

Every bundle is measured on the pictures that none of them has learnt from; see `differences` for
how they are compared.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from slidecam.drawing.pen import add_legend, grid_of, picture_of, plain
from slidecam.drawing.style import LINE, MORE_HUES
from slidecam.errors import DataSetError, UsageError
from slidecam.files import refuse_inputs, replacing, write_json
from slidecam.learning.data.known import learnt_by
from slidecam.learning.evaluation.bundle import (
    BundleEvaluationSpec,
    dataset_to_evaluate,
)
from slidecam.learning.evaluation.classifying import evaluate
from slidecam.learning.evaluation.differences import (
    COMPARED,
    MCNEMAR,
    PairedDifference,
    differences_of,
)
from slidecam.learning.evaluation.evaluation import EvaluationSpec
from slidecam.learning.evaluation.report import (
    FIGURE_FOLDER,
    RECORD,
    TABLE,
    write_predictions,
    write_record,
)
from slidecam.learning.metrics import check_measures, roc_points
from slidecam.learning.published import published_of
from slidecam.pages import picture_uri, write_page
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    import torch
    from PIL import Image

    from slidecam.learning.data.pictures import PictureSet
    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.published import Published
    from slidecam.models.bundle import Bundle

COMPARED_RECORD, COMPARED_PAGE = "comparison.json", "comparison.html"
COMPARED_CURVES = f"{FIGURE_FOLDER}/roc.png"

COLUMNS = (
    "accuracy",
    "balanced accuracy",
    "weighted precision",
    "weighted recall",
    "weighted F1",
    "macro F1",
    "kappa",
    "macro AUC",
    "ECE",
    "NLL",
)
"""Figures of bundles side by side."""

PANELS = 6
"""Classes whose curves are drawn at most."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Bundles measured on the same pictures.

    Attributes
    ----------
    evaluations
        By the bundles' names.
    differences
        Of every two.
    notes
        What a careful reader must know, as sentences.
    published
        What others reported of such a classifier, by the bundle's name, where its card says so.
    """

    evaluations: Mapping[str, Evaluation]
    differences: tuple[PairedDifference, ...]
    notes: tuple[str, ...]
    published: Mapping[str, Published] = field(default_factory=dict)

    @property
    def test(self) -> str:
        """What the test of calls is, in words."""
        return MCNEMAR

    @property
    def is_whole(self) -> bool:
        """Whether every bundle could classify every picture."""
        return all(each.is_whole for each in self.evaluations.values())

    def rows(self) -> list[dict[str, str]]:
        """Return the bundles' figures as rows of a table."""
        rows: list[dict[str, str]] = []
        for name, found in self.evaluations.items():
            figures = {column: str(found.figures[column]) for column in COMPARED}
            rows.append({"bundle": name, "pictures": str(found.pictures), **figures})
            reported = self.published.get(name)
            if reported is not None:
                figures = {column: reported.shown(column) for column in COMPARED}
                rows.append({"bundle": reported.title, "pictures": "", **figures})
        return rows

    def record(self) -> dict[str, object]:
        """Return what ``comparison.json`` holds, as JSON values."""
        bundles: dict[str, object] = {}
        for name, each in self.evaluations.items():
            bundles[name] = each.record()
        return {
            "bundles": bundles,
            "differences": list(map(PairedDifference.record, self.differences)),
            "mcnemar": MCNEMAR,
            "notes": list(self.notes),
            "published": {name: each.record() for name, each in self.published.items()},
        }


def compare_bundles(
    bundles: Sequence[Bundle],
    data: Path,
    device: torch.device,
    spec: BundleEvaluationSpec,
    out: Path | None,
) -> Generator[Step, None, Comparison]:
    """Measure bundles on the labelled pictures that are new to all of them; see the module.

    Raises
    ------
    UsageError
        If they are of different classes, one is named twice, or an extra is missing.
    DataSetError
        If no picture is new to all, or one of them cannot be measured there.
    DeviceError, CardError, WeightsError
        If a bundle cannot run there.
    """
    check_measures()
    refuse_inputs(filter(None, [out]), [data])
    names = _names_of(bundles)
    pictures, notes = yield from _common(dict(zip(names, bundles, strict=True)), data, spec)
    for said in notes:
        yield Step("data", 0, 0, message=said)
    evaluations: dict[str, Evaluation] = {}
    for name, bundle in zip(names, bundles, strict=True):
        settings = EvaluationSpec(
            batch=spec.batch, mapping=spec.mapping or {}, bundle=bundle.digest
        )
        found = yield from evaluate(bundle.classifier(device), pictures, settings)
        evaluations[name] = replace(found, measured="pictures new to all", notes=notes)
    published: dict[str, Published] = {}
    for name, bundle in zip(names, bundles, strict=True):
        reported = published_of(bundle.card.provenance)
        if reported is not None:
            published[name] = reported
            notes = (*notes, *filter(None, (reported.sentence(name),)))
    compared = Comparison(evaluations, differences_of(evaluations), notes, published)
    if out is not None:
        write_comparison(compared, out, data.name, roc_curves(evaluations))
    return compared


def _names_of(bundles: Sequence[Bundle]) -> list[str]:
    """Return what to call bundles: their cards' names, and folders where two have one name."""
    paths: Counter[Path] = Counter()
    cards: Counter[str] = Counter()
    classes: set[frozenset[str]] = set()
    known: list[str] = []
    for bundle in bundles:
        card = bundle.card
        paths[bundle.path.resolve()] += 1
        cards[card.name] += 1
        classes.add(frozenset(card.class_names))
        known.append(f"{card.name} knows {', '.join(card.class_names)}")
    if max(paths.values()) > 1:
        problem = f"{next(iter(paths))} is named more than once."
        raise UsageError(problem, "Name different bundles.")
    if len(classes) > 1:
        raise UsageError(
            f"these bundles are of different classes: {'; '.join(known)}.",
            "Compare those of the same ones.",
        )
    names: list[str] = []
    for bundle in bundles:
        name = bundle.card.name
        if cards[name] > 1:
            name = f"{name} ({bundle.path})"
        names.append(name)
    return names


def _common(
    bundles: Mapping[str, Bundle], data: Path, spec: BundleEvaluationSpec
) -> Generator[Step, None, tuple[PictureSet, tuple[str, ...]]]:
    """Return the pictures that are new to all bundles, and what is to be said of them."""
    notes: dict[str, None] = {}
    first: PictureSet | None = None
    known: set[Path] = set()
    for name, bundle in bundles.items():
        try:
            chosen = yield from dataset_to_evaluate(data, bundle.card, spec, learnt_by(bundle))
        except DataSetError as error:
            problem = f"{name} cannot be measured here: {error.clause}."
            raise DataSetError(problem, error.remedy) from error
        pictures = chosen.dataset.pictures
        notes |= dict.fromkeys((f"{name}: {chosen.measured}.", *pictures.notes))
        if first is None:
            first, known = pictures, set(pictures.paths)
            continue
        known &= set(pictures.paths)
        if first.groups is None and pictures.groups is not None:
            first = pictures
    assert first is not None  # noqa: S101  (for the type checker: there is a bundle)
    rows = [row for row, path in enumerate(first.paths) if path in known]
    if not rows:
        problem = "no picture is new to all of these bundles."
        raise DataSetError(problem, "Measure them on pictures that were kept from all.", data)
    notes |= dict.fromkeys((f"All are measured on the same {len(rows)} pictures, new to each.",))
    return first.rows(rows), tuple(notes)


def roc_curves(evaluations: Mapping[str, Evaluation]) -> Image.Image | None:
    """Return the ROC curves of all bundles in one plot, a panel for each class.

    Of two classes the second alone, as the first's is the same; None where no class has both
    pictures of its own and others.
    """
    first = next(iter(evaluations.values()))
    names = [
        name for name, count in first.support.items() if 0 < count < sum(first.support.values())
    ]
    if len(first.support) == 2:  # noqa: PLR2004  (a class and its absence)
        names = names[1:]
    names = names[:PANELS]
    if not names:
        return None
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    figure, grid = grid_of(lines, columns, 4.6 * columns + 1.0, 4.4 * lines)
    for axes, name in zip(grid, names, strict=False):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1)
        for place, (title, evaluation) in enumerate(evaluations.items()):
            predictions = evaluation.predictions
            index = predictions.class_names.index(name)
            scores = predictions.probabilities[:, index]
            false, true = roc_points(predictions.labels == index, scores)
            area = evaluation.per_class[name]["AUC"].value or 0.0
            color = MORE_HUES[place % len(MORE_HUES)]
            axes.plot(false, true, color=color, label=f"{plain(title)}: {area:.3f}")
        axes.set(xlabel="1 - specificity", ylabel="sensitivity", title=plain(name))
        add_legend(axes, "lower right", "AUC")
    for axes in grid[len(names) :]:
        axes.set_axis_off()
    return picture_of(figure)


def write_comparison(
    compared: Comparison, folder: Path, data: str, curves: Image.Image | None
) -> None:
    """Write ``comparison.json`` and ``.html``, the curves, and each bundle's own record and table.

    Those of the n-th bundle lie in ``bundle-<n>``.
    """
    uri = None
    if curves is not None:
        with replacing(folder / COMPARED_CURVES) as fresh:
            curves.save(fresh, format="PNG")
        uri = picture_uri(curves, exact=True)
    rows: list[tuple[str, list[str]]] = []
    for number, (name, evaluation) in enumerate(compared.evaluations.items(), 1):
        own = folder / f"bundle-{number}"
        write_record(evaluation, own / RECORD)
        write_predictions(evaluation, own / TABLE)
        rows.append((name, [str(evaluation.figures[column]) for column in COLUMNS]))
        reported = compared.published.get(name)
        if reported is not None:
            rows.append((reported.title, list(map(reported.shown, COLUMNS))))
    first = next(iter(compared.evaluations.values()))
    write_page(
        "comparison",
        folder / COMPARED_PAGE,
        title=f"{len(rows)} classifiers on {data}",
        pictures=first.pictures,
        columns=COLUMNS,
        rows=rows,
        method=first.method,
        differences=[each.row() for each in compared.differences],
        mcnemar=compared.test,
        notes=compared.notes,
        curves=uri,
        curves_file=COMPARED_CURVES,
    )
    write_json(folder / COMPARED_RECORD, compared.record())
