"""The cheap maps as explainers: with their settings, batch by batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from slidecam.errors import ExplanationError
from slidecam.explain.activation_maps import cheap_maps, plan_maps
from slidecam.explain.catalogue import CATALOGUE, method_for
from slidecam.explain.map_methods import BATCH
from slidecam.explain.method_settings import FinerCamSpec, GradCamPlusPlusSpec
from slidecam.models import Card, classifier_for
from slidecam.models.architectures import build_network

if TYPE_CHECKING:
    from slidecam.explain.catalogue import Method
    from slidecam.models import Classifier


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    card = Card(
        name="case", architecture="slidecam/pocket_resnet", class_names=("a", "b", "c"),
        activation="softmax",
        tile_px=32, spacing=0.5, input_px=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = build_network(card.architecture, {"widths": [8, 12]}, 3, Path("card.json"))
    return classifier_for(network, card, torch.device("cpu"))


def tiles(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)


def named(name: str) -> Method:
    return method_for(name)


def test_every_cheap_map_is_a_method() -> None:
    maps = {name for name, method in CATALOGUE.items() if "map_methods" in str(method.explainer)}
    assert maps == {*cheap_maps(), "dt-gradcam"}


@pytest.mark.parametrize("name", sorted(cheap_maps()))
def test_an_explainer_gives_what_a_plan_gives(classifier: Classifier, name: str) -> None:
    spec = FinerCamSpec(against=1) if name == "finer-cam" else named(name).spec()
    found = named(name).make(classifier, spec).explain(tiles(4), (2, 0))
    plan = plan_maps(classifier, [name], (2, 0), 1 if name == "finer-cam" else None)
    assert torch.equal(found.maps, plan(classifier.run(tiles(4), gradients=True))[:, 0])
    assert found.passes == 1


def test_many_tiles_are_explained_in_batches_and_told(classifier: Classifier) -> None:
    many = tiles(2 * BATCH + 1)
    explainer = named("gradcam").make(classifier, named("gradcam").spec())
    steps = list(explainer.steps(many, (0,)))
    assert [step.done for step in steps] == [BATCH, 2 * BATCH, 2 * BATCH + 1]
    assert {(step.phase, step.total) for step in steps} == {("Grad-CAM", 2 * BATCH + 1)}
    assert len(explainer.explain(many, (0,)).maps) == len(many)


def test_settings_reach_the_formula_and_are_told(classifier: Classifier) -> None:
    plus = named("gradcam++")
    default, other = (
        plus.make(classifier, spec).explain(tiles(2), (0,))
        for spec in (plus.spec(), GradCamPlusPlusSpec(1e-3))
    )
    assert float(other.maps.max()) < float(default.maps.max())
    assert (default.facts, other.facts) == ({"eps": 1e-6}, {"eps": 1e-3})
    finer = named("finer-cam")
    weak = finer.make(classifier, FinerCamSpec(against=1, gamma=0.0)).explain(tiles(2), (0,))
    torch.testing.assert_close(
        weak.maps, named("gradcam").make(classifier, None).explain(tiles(2), (0,)).maps
    )
    assert weak.facts == {
        "against": "b; b itself against each tile's likeliest other class",
        "gamma": 0.0,
    }


def test_finer_cam_is_told_its_rival_by_name(classifier: Classifier) -> None:
    finer = named("finer-cam").make
    found = [
        finer(classifier, FinerCamSpec(against)).explain(tiles(2), (0, 2)).maps
        for against in ("b", "1", 1)
    ]
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    with pytest.raises(ExplanationError, match=r"no class 'bone'.*a, b, c"):
        finer(classifier, FinerCamSpec("bone"))
    with pytest.raises(ExplanationError, match="--against"):
        finer(classifier, FinerCamSpec())


def test_the_rival_itself_is_compared_with_each_tiles_likeliest_other_class(
    classifier: Classifier,
) -> None:
    """A tile that was predicted as the rival must not stop the explanation of all the others."""
    some = tiles(6)
    found = named("finer-cam").make(classifier, FinerCamSpec("b")).explain(some, (1, 2))
    logits = classifier.run(some, gradients=False).logits
    for number, tile in enumerate(torch.split(some, 1)):
        runner_up = 0 if logits[number, 0] > logits[number, 2] else 2
        passed = classifier.run(tile, gradients=True)
        expected = plan_maps(classifier, ["finer-cam"], (1,), runner_up)(passed)[0, 0, 0]
        torch.testing.assert_close(found.maps[number, 0], expected)
        torch.testing.assert_close(
            found.maps[number, 1], plan_maps(classifier, ["finer-cam"], (2,), 1)(passed)[0, 0, 0]
        )


def test_finer_cam_of_a_classifier_of_one_class_names_methods_that_do_without_a_rival() -> None:
    card = Card(
        name="one", architecture="slidecam/pocket_resnet", class_names=("a",), activation="sigmoid",
        tile_px=32, spacing=0.5, input_px=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25),
    )  # fmt: skip
    network = build_network(card.architecture, {"widths": [8]}, 1, Path("card.json"))
    with pytest.raises(ExplanationError, match=r"one has 1.*Use gradcam"):
        named("finer-cam").make(
            classifier_for(network, card, torch.device("cpu")), FinerCamSpec("a")
        )
