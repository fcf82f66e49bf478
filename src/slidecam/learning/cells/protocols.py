"""What a graph must beat, and the protocols of its training side by side.

Classifiers that see the same embeddings and no neighbours; ``protocols.json``, ``protocols.html``
and their figures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from slidecam.drawing.pen import add_legend, picture_of, plain, sheet
from slidecam.drawing.style import INK, as_hex
from slidecam.extras import brought
from slidecam.files import replacing, write_json
from slidecam.learning.cells.graphs import INDUCTIVE, TRANSDUCTIVE, Cells, Scored
from slidecam.learning.evaluation.plots import confusion_figure, roc_figure
from slidecam.pages import picture_uri, write_page

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image
    from sklearn import linear_model, manifold, pipeline, preprocessing
    from sklearn import svm as machines

    from slidecam.learning.evaluation.evaluation import Evaluation
    from slidecam.learning.evaluation.figures import Figure
    from slidecam.models.card import Card
    from slidecam.pixels import RGB
else:
    linear_model = brought("sklearn.linear_model", "train")
    machines = brought("sklearn.svm", "train")
    manifold = brought("sklearn.manifold", "train")
    pipeline = brought("sklearn.pipeline", "train")
    preprocessing = brought("sklearn.preprocessing", "train")


SVM = "SVM on the embeddings"
LINEAR = "CNN alone: a linear layer on the embeddings"

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the linear layer, scikit-learn's ``C``: the smaller, the smaller its weights."""

USUAL = 1e-2
"""Where there are no validation cells to choose by."""

_ITERATIONS = 5000


def svm(
    train: Cells,
    _val: Cells,
    tested: Cells,
    part: str,
    classes: int,
) -> Scored:
    """Return what a support-vector machine says of cells.

    Scores, one class against the rest, that are no logits.

    Radial kernel of scikit-learn's default width on standardised embeddings, classes weighed by
    their rarity.
    """
    machine = machines.SVC(class_weight="balanced", decision_function_shape="ovr", break_ties=True)
    return _scored(_fitted(machine, train), tested, part, SVM, classes)


def linear(
    train: Cells,
    val: Cells,
    tested: Cells,
    part: str,
    classes: int,
) -> Scored:
    """Return the logits of a linear layer on the embeddings: the embedder as its own classifier.

    Multinomial logistic regression on standardised embeddings, classes weighed by their rarity. How
    much its weights are held small decides how good it is; what gives the validation cells the
    lowest loss is taken.
    """
    if not len(val):
        return _scored(_layer(USUAL, train), tested, part, LINEAR, classes)
    layers = [_layer(strength, train) for strength in STRENGTHS]
    losses = [_loss(layer, val, classes) for layer in layers]
    return _scored(layers[int(np.argmin(losses))], tested, part, LINEAR, classes)


def _layer(strength: float, train: Cells) -> Any:  # noqa: ANN401  (scikit-learn has no types)
    return _fitted(
        linear_model.LogisticRegression(C=strength, class_weight="balanced", max_iter=_ITERATIONS),
        train,
    )


def _fitted(classifier: Any, train: Cells) -> Any:  # noqa: ANN401  (as above)
    scaled = pipeline.make_pipeline(preprocessing.StandardScaler(), classifier)
    return scaled.fit(train.embeddings.numpy(), train.labels.numpy())


def _scored(
    fitted: Any,  # noqa: ANN401  (scikit-learn has no types)
    tested: Cells,
    part: str,
    name: str,
    classes: int,
) -> Scored:
    found = fitted.decision_function(tested.embeddings.numpy())
    return Scored(name, part, tested.labels.numpy(), _columns(found, fitted.classes_, classes))


def _loss(
    fitted: Any,  # noqa: ANN401  (scikit-learn has no types)
    val: Cells,
    classes: int,
) -> float:
    logits = _scored(fitted, val, "val", LINEAR, classes).logits
    return float(cross_entropy(torch.from_numpy(logits), val.labels))


def _columns(
    decisions: NDArray[np.float64],
    known: NDArray[np.int64],
    classes: int,
) -> NDArray[np.float32]:
    """Return (M, K) of what scikit-learn gives.

    One column for two classes, and none for a class it has not seen.
    """
    scores = decisions
    if decisions.ndim == 1:
        scores = np.stack([-decisions, decisions], 1) / 2
    columns = np.full((len(scores), classes), scores.min() - 1)
    columns[:, known] = scores
    return columns.astype(np.float32)


RECORD, PAGE = "protocols.json", "protocols.html"

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        INDUCTIVE: (
            "The graph holds the training cells alone, and each cell is attached to it by itself."
            " This is the network in the bundle; it compares with a CNN."
        ),
        TRANSDUCTIVE: (
            "The graph holds these cells too, in training already, without their labels. This is"
            " another network than the bundle's, and does not compare with a CNN, which sees one"
            " cell at a time."
        ),
        LINEAR: (
            "The embedder as a classifier by itself: a linear layer on its embeddings, without a"
            " graph."
        ),
        SVM: (
            "A support-vector machine with a radial kernel on the same embeddings. Its scores are"
            " no probabilities."
        ),
    }
)
"""What each row is, in words to print beside it."""

COLUMNS = ("accuracy", "balanced accuracy", "macro F1", "weighted F1", "macro AUC")

_FEWEST, _MOST = 8, 3000
"""Cells that t-SNE is drawn of; of more, so many are drawn by lot."""

_PERPLEXITY = 30.0


@dataclass(frozen=True, eq=False)
class Plane:
    """Cells in the plane: points (n, 2) and their classes (n,)."""

    points: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Protocols:
    """What a report of all protocols holds.

    Attributes
    ----------
    card
        Of the bundle.
    part
        Of the data that was measured on.
    evaluations
        By the names in `MEANINGS`.
    planes
        t-SNE pictures by what they are of; None where there were too few cells.
    """

    card: Card
    part: str
    evaluations: Mapping[str, Evaluation]
    planes: Mapping[str, Plane | None]


def plane_of(
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    seed: int = 0,
) -> Plane | None:
    """Return cells (n, D) laid out by t-SNE (van der Maaten and Hinton, JMLR 2008).

    None if there are too few.
    """
    if len(vectors) < _FEWEST:
        return None
    lot = np.random.default_rng(seed)
    if len(vectors) > _MOST:
        rows = np.sort(lot.choice(len(vectors), _MOST, replace=False))
        vectors, labels = vectors[rows], labels[rows]

    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    layout = manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return Plane(layout.fit_transform(vectors), labels)


def write_protocols(folder: Path, protocols: Protocols) -> None:
    """Write ``protocols.json``, ``protocols.html`` and ``figures/*.png``, each file whole."""
    pictures = dict(_pictures(protocols))
    for name, picture in pictures.items():
        with replacing(folder / "figures" / _file_name(name)) as fresh:
            picture.save(fresh, format="PNG")
    rows, record = [], {}
    for name, evaluation in protocols.evaluations.items():
        cells = [_described(evaluation.figures[column]) for column in COLUMNS]
        rows.append((name, MEANINGS[name], cells))
        facts = {"meaning": MEANINGS[name], "part": protocols.part}
        record[name] = {**facts, **evaluation.record()}
    images = []
    for name, picture in pictures.items():
        images.append((name, _file_name(name), picture_uri(picture, exact=True)))
    first = next(iter(protocols.evaluations.values()))
    write_page(
        "protocols",
        folder / PAGE,
        title=protocols.card.name,
        part=protocols.part,
        cells=len(first.predictions.labels),
        columns=COLUMNS,
        rows=rows,
        method=first.method,
        images=images,
        left_out=[name for name, plane in protocols.planes.items() if plane is None],
        fewest=_FEWEST,
    )
    write_json(folder / RECORD, record)


def _file_name(title: str) -> str:
    """Return what a figure's file is called: no shell needs quotes for it."""
    return f"{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}.png"


def scatter_figure(
    points: NDArray[np.floating],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    colors: Sequence[RGB],
) -> Image.Image:
    """Return embeddings in the plane (N, 2), as t-SNE makes them, coloured by class."""
    figure, axes = sheet(6.2, 5.6)
    for index, name in enumerate(class_names):
        here = points[labels == index]
        marker = "os^Dv<>P"[index % 8]
        look: dict[str, Any] = {
            "color": as_hex(colors[index]),
            "edgecolors": INK,
            "linewidths": 0.3,
            "s": 16,
            "marker": marker,
        }
        axes.scatter(here[:, 0], here[:, 1], label=plain(name), **look)
    axes.set(
        xticks=[],
        yticks=[],
        title="Embeddings, t-SNE: distances between clusters mean nothing",
    )
    add_legend(axes, "best")
    return picture_of(figure)


def _pictures(protocols: Protocols) -> Iterator[tuple[str, Image.Image]]:
    for name, evaluation in protocols.evaluations.items():
        picture = roc_figure(evaluation)
        if picture is not None:
            yield f"ROC, {name.replace(':', ',')}", picture
        yield f"Confusion, {name.replace(':', ',')}", confusion_figure(evaluation)
    names, colors = protocols.card.class_names, protocols.card.class_colors
    for name, plane in protocols.planes.items():
        if plane is not None:
            yield (
                f"t-SNE, {name}",
                scatter_figure(plane.points, plane.labels, names, colors),
            )


def _described(figure: Figure) -> tuple[str, str]:
    """Return a figure and its interval in words."""
    value, interval = "none", ""
    if figure.value is not None:
        value = f"{figure.value:.3f}"
    if figure.interval is not None:
        interval = f"{figure.interval} ({figure.interval.method})"
    return value, interval
