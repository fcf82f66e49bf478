"""The maps that know nothing, and that they are explainers like all others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from slidecam.errors import UsageError
from slidecam.explain.contract import ExplainerCase, ExplainerContract
from slidecam.faithfulness.references import METHODS, RandomMapSpec, centre_prior, random_map

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from torch import nn

    from slidecam.models import Classifier

RANDOM, CENTRE = METHODS


@pytest.fixture
def classifier(
    make_classifier: Callable[..., Classifier], linear: Callable[..., nn.Module]
) -> Classifier:
    return make_classifier(linear(classes=3), "softmax", classes=3)


def test_random_maps_are_even_and_hang_on_their_seed() -> None:
    values = random_map(3, (100, 100))
    assert values.dtype == np.float32
    assert np.histogram(values, 4, (0, 1))[0].min() > 2300
    np.testing.assert_array_equal(values, random_map(3, (100, 100)))
    assert (values != random_map((3, 1), (100, 100))).all()


def test_the_prior_falls_from_the_middle_alike_on_all_sides() -> None:
    values = centre_prior((7, 9))
    assert values[3, 4] == 1 == values.max()
    np.testing.assert_allclose(values, values[::-1, ::-1])
    assert (np.diff(values[3, 4:]) < 0).all()
    assert values[0, 4] == pytest.approx(np.exp(-((3 / 7 / 0.25) ** 2) / 2))


class TestBothKeepTheContract(ExplainerContract):
    @pytest.fixture(params=METHODS, ids=lambda one: one.name)
    def case(self, request: pytest.FixtureRequest, classifier: Classifier) -> ExplainerCase:
        return ExplainerCase(request.param, classifier, classes=(0, 2))


def test_random_maps_differ_between_tiles_classes_and_seeds(
    classifier: Classifier, tiles: Callable[..., torch.Tensor]
) -> None:
    maps = RANDOM.make(classifier, RandomMapSpec()).explain(tiles(2), (0, 1)).maps
    others = RANDOM.make(classifier, RandomMapSpec(seed=1, rows=4)).explain(tiles(2), (0, 1)).maps
    assert (
        len(
            {float(values[0, 0]) for values in maps.flatten(0, 1)}
            | {float(v[0, 0]) for v in others.flatten(0, 1)}
        )
        == 8
    )
    assert others.shape == (2, 2, 4, 7)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError, match="-1"):
        RandomMapSpec(seed=-1)


def test_they_work_where_there_is_no_map(classifier: Classifier) -> None:
    assert not classifier.has_map
    assert not CENTRE.needs_map
    assert not RANDOM.needs_map
