from __future__ import annotations

import numpy as np
import torch
from sklearn.utils.class_weight import compute_class_weight

from slidecam.learning.data.inputs import class_weights, oversampled, shuffled

LABELS = torch.tensor([0] * 10 + [1] * 3 + [3] * 4)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_weights_are_scikit_learns_balanced_ones() -> None:
    labels = LABELS[LABELS != 3]
    expected = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels.numpy())
    np.testing.assert_allclose(class_weights(labels, 2).numpy(), expected, rtol=1e-6)


def test_a_class_without_pictures_weighs_nothing_and_the_mean_weight_is_one() -> None:
    weights = class_weights(LABELS, 5)
    assert weights[[2, 4]].tolist() == [0, 0]
    assert torch.isclose(weights[LABELS].mean(), torch.tensor(1.0))


def test_an_oversampled_epoch_has_every_class_as_often_as_the_largest() -> None:
    rows = oversampled(LABELS, generator())
    assert torch.bincount(LABELS[rows]).tolist() == [10, 10, 0, 10]
    times = torch.bincount(rows)
    assert times[:10].tolist() == [1] * 10
    assert sorted(times[10:13].tolist()) == [3, 3, 4]
    assert sorted(times[13:].tolist()) == [2, 2, 3, 3]


def test_the_generator_alone_decides_and_moves_on() -> None:
    torch.manual_seed(1)
    used = generator()
    first, second = oversampled(LABELS, used), oversampled(LABELS, used)
    torch.manual_seed(2)
    assert torch.equal(first, oversampled(LABELS, generator()))
    assert not torch.equal(first, second)
    assert not torch.equal(first.sort().values, first)


def test_a_shuffled_epoch_has_every_picture_once() -> None:
    rows = shuffled(50, generator(3))
    assert rows.sort().values.tolist() == list(range(50))
    assert torch.equal(rows, shuffled(50, generator(3)))
    assert not torch.equal(rows, shuffled(50, generator(4)))
