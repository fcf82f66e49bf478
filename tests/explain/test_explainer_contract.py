"""The published contract catches what it is there to catch.

Each way to break it breaks the test that names it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from slidecam.explain.catalogue import Method, method_for
from slidecam.explain.contract import ExplainerCase, ExplainerContract
from slidecam.explain.explainer import Explainer, Explanation
from slidecam.models import Card, classifier_for
from slidecam.models.architectures import build_network
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from slidecam.models import Classifier

GRAD_CAM = method_for("gradcam")


@dataclass(frozen=True)
class Sin:
    """What one explainer does wrong.

    To its network or the world before, and to its explanation after.
    """

    before: Callable[[Naughty, torch.Tensor], object] = lambda _explainer, _tiles: None
    after: Callable[[Explanation], Explanation] = lambda found: found


class Naughty(Explainer):
    """Grad-CAM with one sin."""

    def __init__(self, classifier: Classifier, sin: Sin) -> None:
        super().__init__(classifier)
        self.sin = sin
        self.inner = GRAD_CAM.make(classifier, GRAD_CAM.spec())

    def steps(
        self, pixels: torch.Tensor, classes: Sequence[int]
    ) -> Generator[Step, None, Explanation]:
        self.sin.before(self, pixels)
        found = yield from self.inner.steps(pixels, classes)
        return self.sin.after(found)


@pytest.fixture
def classifier() -> Iterator[Classifier]:
    card = Card(
        name="case", architecture="slidecam/pocket_resnet", class_names=("a", "b", "c"),
        activation="softmax",
        tile_px=32, spacing=0.5, input_px=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        network = build_network(card.architecture, {"widths": [8, 12]}, 3, Path("card.json"))
    states = (
        torch.get_rng_state(),
        np.random.get_state(),  # noqa: NPY002  (the global one is meant)
        random.getstate(),
    )
    yield classifier_for(network, card, torch.device("cpu"))
    torch.set_grad_enabled(True)
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])  # noqa: NPY002
    random.setstate(states[2])


def layer(explainer: Naughty) -> Any:
    return explainer.classifier.network.fc


def hook(explainer: Naughty) -> None:
    layer(explainer).register_forward_hook(lambda *_: None)


def with_maps(
    change: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[Explanation], Explanation]:
    return lambda found: replace(found, maps=change(found.maps))


def noisy(maps: torch.Tensor) -> torch.Tensor:
    return (
        maps
        + 0.01
        * torch.rand(maps.shape, generator=torch.Generator().manual_seed(len(maps)))
        * maps.amax()
    )


NO_TRACE = "test_no_trace_is_left"
SINS = {
    "a hook stays": (Sin(lambda e, _: hook(e)), NO_TRACE),
    "a gradient stays": (
        Sin(lambda e, _: setattr(layer(e).weight, "grad", layer(e).weight * 0)), NO_TRACE,
    ),
    "a flag stays": (Sin(lambda e, _: layer(e).weight.requires_grad_()), NO_TRACE),
    "a mode stays": (Sin(lambda e, _: layer(e).train()), NO_TRACE),
    "a weight changes": (Sin(lambda e, _: layer(e).bias.add_(1)), NO_TRACE),
    "an attribute stays": (Sin(lambda e, _: setattr(layer(e), "kept", 1)), NO_TRACE),
    "a forward is wrapped": (
        Sin(lambda e, _: setattr(layer(e), "forward", layer(e).forward)), NO_TRACE,
    ),
    "torch draws": (Sin(lambda _e, _: torch.rand(1)), NO_TRACE),
    "NumPy draws": (Sin(lambda _e, _: np.random.rand()), NO_TRACE),  # noqa: NPY002
    "Python draws": (Sin(lambda _e, _: random.random()), NO_TRACE),  # noqa: S311
    "gradients are switched off": (Sin(lambda _e, _: torch.set_grad_enabled(False)), NO_TRACE),
    "tiles are changed": (Sin(lambda _e, tiles: tiles.add_(1)), NO_TRACE),
    "a hook stays after an exception": (
        Sin(lambda e, _: hook(e)), "test_no_trace_is_left_by_an_exception_inside",
    ),
    "a hook stays after a cancel": (
        Sin(lambda e, _: hook(e)), "test_no_trace_is_left_by_work_that_is_cancelled",
    ),
    "maps are scaled by batch": (
        Sin(after=with_maps(lambda m: m / m.amax())), "test_a_tile_has_one_map_in_whatever_batch",
    ),
    "maps hang on the batch": (
        Sin(after=with_maps(noisy)), "test_a_tile_has_one_map_in_whatever_batch",
    ),
    "maps hang on the order": (
        Sin(after=with_maps(noisy)), "test_a_tile_has_one_map_in_whatever_order",
    ),
    "maps hang on the seed": (
        Sin(after=with_maps(lambda m: m + torch.rand(()) * 1e-3)),
        "test_the_callers_random_state_decides_nothing",
    ),
    "maps differ each time": (
        Sin(after=with_maps(lambda m: m + torch.rand(()) * 1e-3)),
        "test_a_tile_has_one_map_each_time",
    ),
    "classes hang together": (
        Sin(after=with_maps(lambda m: m - m.mean(1, keepdim=True))),
        "test_a_class_has_one_map_among_whatever_others",
    ),
    "signs are not stated": (
        Sin(after=with_maps(lambda m: -m)), "test_maps_are_finite_and_have_the_sign_they_state",
    ),
    "maps are empty": (
        Sin(after=with_maps(torch.zeros_like)), "test_maps_are_finite_and_have_the_sign_they_state",
    ),
    "flat tiles divide by 0": (
        Sin(after=with_maps(lambda m: m / (m - m).abs().amax())),
        "test_tiles_of_one_colour_have_finite_maps",
    ),
    "a class is missing": (
        Sin(after=with_maps(lambda m: m[:, :1])), "test_there_is_a_map_for_each_tile_and_class",
    ),
    "maps are doubles": (
        Sin(after=with_maps(lambda m: m.double())), "test_there_is_a_map_for_each_tile_and_class",
    ),
    "logits are others": (
        Sin(after=lambda found: replace(found, logits=found.logits + 1)),
        "test_logits_are_the_classifiers",
    ),
    "facts are no JSON": (
        Sin(after=lambda found: replace(found, facts={"map": np.float32(1)})),
        "test_facts_are_plain_json",
    ),
}  # fmt: skip


def broken(classifier: Classifier, sin: Sin) -> ExplainerCase:
    method = Method("gradcam", "Grad-CAM", GRAD_CAM.spec, lambda one, _spec: Naughty(one, sin))
    return ExplainerCase(method, classifier)


@pytest.mark.parametrize("name", SINS)
def test_each_way_to_break_the_contract_is_caught(classifier: Classifier, name: str) -> None:
    sin, test = SINS[name]
    with pytest.raises((AssertionError, TypeError)):
        getattr(ExplainerContract(), test)(broken(classifier, sin))


@pytest.mark.parametrize("test", sorted({test for _sin, test in SINS.values()}))
def test_without_a_sin_the_same_tests_pass(classifier: Classifier, test: str) -> None:
    getattr(ExplainerContract(), test)(broken(classifier, Sin()))


class Careless(Naughty):
    """Looks at nothing before it explains."""

    def steps(
        self, pixels: torch.Tensor, classes: Sequence[int]
    ) -> Generator[Step, None, Explanation]:
        yield Step("careless", 3, 2)
        maps = torch.zeros(len(pixels), len(classes), 2, 2)
        return Explanation("gradcam", torch.zeros(len(pixels), 3), maps, 1)


@pytest.mark.parametrize("test", [
    "test_classes_that_are_not_there_are_refused",
    "test_a_classifier_without_a_map_is_refused_if_one_is_needed",
    "test_steps_say_how_far_the_work_is",
    "test_no_trace_is_left_by_tiles_that_the_network_refuses",
])  # fmt: skip
def test_what_is_not_refused_is_caught(classifier: Classifier, test: str) -> None:
    method = Method("gradcam", "Grad-CAM", GRAD_CAM.spec, lambda one, _spec: Careless(one, Sin()))
    with pytest.raises(AssertionError):
        getattr(ExplainerContract(), test)(ExplainerCase(method, classifier))
