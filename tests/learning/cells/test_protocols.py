from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from slidecam.learning.cells.graphs import Cells
from slidecam.learning.cells.protocols import LINEAR, STRENGTHS, SVM, USUAL, linear, plane_of, svm

if TYPE_CHECKING:
    from collections.abc import Callable

    from slidecam.learning.cells.graphs import Scored


def cells(count: int, classes: int, seed: int) -> Cells:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    embeddings = torch.randn(count, 6, generator=generator) * torch.tensor([1, 1, 1, 1, 1, 50.0])
    embeddings[torch.arange(count), labels] += 1.5
    return Cells(embeddings, labels)


def plain_layer(train: Cells, strength: float) -> Pipeline:
    layer = LogisticRegression(C=strength, class_weight="balanced", max_iter=5000)
    return make_pipeline(StandardScaler(), layer).fit(
        train.embeddings.numpy(), train.labels.numpy()
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_the_linear_layer_is_scikit_learns_at_the_strength_that_does_best_on_validation(
    classes: int,
) -> None:
    train, val, tested = (cells(count, classes, seed) for seed, count in enumerate((60, 20, 25)))
    layers = [plain_layer(train, strength) for strength in STRENGTHS]
    losses = [log_loss(val.labels, layer.predict_proba(val.embeddings.numpy())) for layer in layers]
    expected = layers[int(np.argmin(losses))].predict_proba(tested.embeddings.numpy())
    found = linear(train, val, tested, "test", classes)
    np.testing.assert_allclose(
        torch.from_numpy(found.logits).softmax(1).numpy(), expected, atol=1e-5
    )
    assert (found.name, found.part) == (LINEAR, "test")
    assert np.array_equal(found.labels, tested.labels.numpy())


def test_without_validation_cells_the_usual_strength_is_taken() -> None:
    train, tested = cells(60, 2, 0), cells(25, 2, 1)
    nobody = Cells(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))
    found = linear(train, nobody, tested, "test", 2)
    expected = plain_layer(train, USUAL).predict_proba(tested.embeddings.numpy())
    np.testing.assert_allclose(
        torch.from_numpy(found.logits).softmax(1).numpy(), expected, atol=1e-5
    )


@pytest.mark.parametrize("classes", [2, 4])
def test_the_machines_highest_score_is_what_it_predicts(classes: int) -> None:
    train, tested = cells(60, classes, 0), cells(25, classes, 1)
    scaler = StandardScaler().fit(train.embeddings.numpy())
    plain = SVC(class_weight="balanced", break_ties=True)
    plain.fit(scaler.transform(train.embeddings.numpy()), train.labels.numpy())
    found = svm(train, tested, tested, "test", classes)
    assert np.array_equal(
        found.logits.argmax(1), plain.predict(scaler.transform(tested.embeddings.numpy()))
    )
    assert found.name == SVM


@pytest.mark.parametrize("baseline", [linear, svm])
def test_a_class_that_was_never_seen_is_never_said(
    baseline: Callable[[Cells, Cells, Cells, str, int], Scored],
) -> None:
    train = cells(40, 2, 0)
    seen, tested = Cells(train.embeddings, train.labels * 2), cells(10, 2, 1)
    found = baseline(seen, Cells(tested.embeddings, tested.labels * 2), tested, "test", 3)
    assert found.logits.shape == (10, 3)
    assert (found.logits[:, 1] < found.logits[:, [0, 2]].min(1)).all()


def test_classes_that_lie_apart_stay_apart_and_the_layout_is_the_same_each_time() -> None:
    lot, labels = np.random.default_rng(0), np.arange(30) % 2
    vectors = (lot.normal(size=(30, 8)) + 12 * labels[:, None]).astype(np.float32)
    plane, again = plane_of(vectors, labels), plane_of(vectors, labels)
    assert plane is not None
    assert again is not None
    assert np.array_equal(plane.points, again.points)
    assert np.array_equal(plane.labels, labels)
    centres = [plane.points[labels == index].mean(0) for index in (0, 1)]
    spread = max(plane.points[labels == index].std() for index in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


def test_too_few_cells_are_not_laid_out() -> None:
    assert plane_of(np.zeros((7, 3), np.float32), np.zeros(7, np.int64)) is None
