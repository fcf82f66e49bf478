"""Many pictures go through the classifier, few at a time, and each caller gets its answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from slidecam.faithfulness.removal import (
    ClassScorer,
    ClassScores,
    Perturbation,
    run_all,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from slidecam.models import Classifier


@pytest.fixture
def classifier(
    make_classifier: Callable[..., Classifier], linear: Callable[..., nn.Module]
) -> Classifier:
    return make_classifier(linear(classes=3), "softmax", classes=3)


def some_pictures(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_scores_are_the_classifiers_in_order(classifier: Classifier, batch: int) -> None:
    pictures = some_pictures(7)
    expected = classifier.run_normalised(pictures, gradients=False).logits
    scores = ClassScorer(classifier, 1, batch)(iter(pictures))
    np.testing.assert_allclose(scores.logits, expected[:, 1], rtol=1e-5)
    np.testing.assert_allclose(scores.probabilities, expected.softmax(1)[:, 1], rtol=1e-5)


def test_no_pictures_have_no_scores(classifier: Classifier) -> None:
    assert ClassScorer(classifier, 0)(iter(())).logits.shape == (0,)


def test_pictures_are_made_as_they_are_needed(classifier: Classifier) -> None:
    made: list[int] = []
    seen: list[tuple[int, int]] = []

    def pictures() -> Iterator[torch.Tensor]:
        for place, picture in enumerate(some_pictures(20), 1):
            made.append(place)
            yield picture

    classifier.network.register_forward_hook(
        lambda _network, given, _logits: seen.append((len(given[0]), made[-1]))
    )
    ClassScorer(classifier, 0, batch=8)(pictures())
    assert seen == [(8, 8), (8, 16), (4, 20)]


def test_each_perturbation_gets_its_own_scores() -> None:
    def score(pictures: object) -> ClassScores:
        values = np.asarray([float(picture) for picture in pictures])  # type: ignore[attr-defined]
        return ClassScores(values, -values)

    one = Perturbation(
        [torch.tensor(1.0), torch.tensor(2.0)], 2, lambda scores: scores.logits.tolist()
    )
    none = Perturbation([], 0, lambda scores: scores.logits.tolist())
    two = Perturbation([torch.tensor(3.0)], 1, lambda scores: scores.probabilities.tolist())
    assert run_all(score, [one, none, two]) == [
        [1.0, 2.0],
        [],
        [-3.0],
    ]
