"""What a graph must beat: classifiers that see the same embeddings and no neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch.nn.functional import cross_entropy

from slidecam.learning.cells.graphs import Scored

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.learning.cells.node_graphs import Cells

SVM = "SVM on the embeddings"
LINEAR = "CNN alone: a linear layer on the embeddings"

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the linear layer, scikit-learn's ``C``: the smaller, the smaller its weights."""

USUAL = 1e-2
"""Where there are no validation cells to choose by."""

_ITERATIONS = 5000


def svm(train: Cells, _val: Cells, tested: Cells, part: str, classes: int) -> Scored:
    """Return what a support-vector machine says of cells.

    Scores, one class against the rest, that are no logits.

    Radial kernel of scikit-learn's default width on standardised embeddings, classes weighed by
    their rarity.
    """
    machine = SVC(class_weight="balanced", decision_function_shape="ovr", break_ties=True)
    return _scored(_fitted(machine, train), tested, part, SVM, classes)


def linear(train: Cells, val: Cells, tested: Cells, part: str, classes: int) -> Scored:
    """Return the logits of a linear layer on the embeddings: the embedder as its own classifier.

    Multinomial logistic regression on standardised embeddings, classes weighed by their rarity. How
    much its weights are held small decides how good it is; what gives the validation cells the
    lowest loss is taken.
    """
    layers = [
        _fitted(
            LogisticRegression(C=strength, class_weight="balanced", max_iter=_ITERATIONS), train
        )
        for strength in (STRENGTHS if len(val) else [USUAL])
    ]
    losses = [_loss(layer, val, classes) for layer in layers] if len(val) else [0.0]
    return _scored(layers[int(np.argmin(losses))], tested, part, LINEAR, classes)


def _fitted(classifier: Any, train: Cells) -> Any:  # noqa: ANN401  (scikit-learn has no types)
    return make_pipeline(StandardScaler(), classifier).fit(
        train.embeddings.numpy(), train.labels.numpy()
    )


def _scored(fitted: Any, tested: Cells, part: str, name: str, classes: int) -> Scored:  # noqa: ANN401  (as above)
    found = fitted.decision_function(tested.embeddings.numpy())
    return Scored(name, part, tested.labels.numpy(), _columns(found, fitted.classes_, classes))


def _loss(fitted: Any, val: Cells, classes: int) -> float:  # noqa: ANN401  (as above)
    return float(
        cross_entropy(
            torch.from_numpy(_scored(fitted, val, "val", LINEAR, classes).logits), val.labels
        )
    )


def _columns(
    decisions: NDArray[np.float64], known: NDArray[np.int64], classes: int
) -> NDArray[np.float32]:
    """Return (M, K) of what scikit-learn gives.

    One column for two classes, and none for a class it has not seen.
    """
    told = np.stack([-decisions, decisions], 1) / 2 if decisions.ndim == 1 else decisions
    columns = np.full((len(told), classes), told.min() - 1)
    columns[:, known] = told
    return columns.astype(np.float32)
