"""DeepSHAP is captum's where captum has a rule, and adds up where only ours has one."""

from __future__ import annotations

import pytest
import timm
import torch
from captum.attr import DeepLiftShap
from torch import Tensor, nn

from slidecam.explain.baselines import BASELINES
from slidecam.explain.deep_shap import DeepShap
from slidecam.explain.method_settings import DeepShapSpec
from slidecam.models.classifier import normalised
from small_networks import classifier_of

EDGE = 38
NAMES = ("zero", "blur")


@pytest.fixture
def tiles() -> Tensor:
    drawn = torch.randint(0, 256, (2, EDGE, EDGE, 3), generator=torch.Generator().manual_seed(4))
    return drawn.to(torch.uint8)


def plain(kind: str) -> nn.Module:
    """Return a network of modules that captum has rules for, each called once.

    A pool stands alone: behind another step captum's shares do not add up.
    """
    torch.manual_seed(3)
    inner: dict[str, list[nn.Module]] = {
        "relu": [nn.ReLU(), nn.AvgPool2d(2)],
        "pool": [nn.MaxPool2d(2)],
        "tanh": [nn.BatchNorm2d(7), nn.Tanh(), nn.AvgPool2d(2)],
    }
    ends = [nn.Flatten(), nn.Linear(7 * 18 * 18, 11), nn.Sigmoid(), nn.Linear(11, 3)]
    return nn.Sequential(nn.Conv2d(3, 7, 3), *inner[kind], *ends).eval()


@pytest.mark.parametrize("kind", ["relu", "pool", "tanh"])
def test_shares_are_captums_where_captum_has_a_rule_for_every_module(
    tiles: Tensor, kind: str
) -> None:
    classifier = classifier_of(plain(kind), EDGE, 3)
    found = DeepShap(classifier, DeepShapSpec(NAMES)).explain(tiles, [0, 2])
    network = plain(kind)
    for row, tile in enumerate(tiles.split(1)):  # type: ignore[no-untyped-call]
        picture = normalised(tile, classifier.card)
        baselines = torch.stack([BASELINES[name](picture[0]) for name in NAMES])
        for place, index in enumerate((0, 2)):
            with pytest.warns(UserWarning, match="non-linear"):
                theirs = DeepLiftShap(network).attribute(picture, baselines, target=index)
            torch.testing.assert_close(
                found.maps[row, place], theirs[0].sum(0).float(), atol=2e-6, rtol=1e-4
            )


GATED = ("efficientnet_b0", "mobilenetv3_small_050", "densenet121", "resnet18")


@pytest.mark.parametrize("name", GATED)
def test_shares_add_up_through_gates_and_smooth_activations(tiles: Tensor, name: str) -> None:
    torch.manual_seed(11)
    classifier = classifier_of(timm.create_model(name, num_classes=3), EDGE, 3)
    found = DeepShap(classifier, DeepShapSpec(NAMES)).explain(tiles, [1])
    picture = normalised(tiles[:1], classifier.card)
    baselines = torch.stack([BASELINES[each](picture[0]) for each in NAMES])
    logits = classifier.logits_of(torch.cat([picture, baselines]))[:, 1]
    gain = float(logits[0] - logits[1:].mean())
    scale = float(found.maps[0, 0].abs().sum())
    assert float(found.maps[0, 0].sum()) == pytest.approx(gain, abs=2e-5 * scale)
    assert found.facts["completeness gap"] <= 2e-5 * max(scale, 1e-3)


class Gate(nn.Module):
    """The product of two sums, each logit with its own sign."""

    def forward(self, pixels: Tensor) -> Tensor:
        one, other = pixels[:, 0].sum((1, 2)), pixels[:, 1].mean((1, 2))
        return torch.stack([one * other, -one * other], 1)


def test_of_a_product_each_factor_counts_times_the_mean_of_the_other(tiles: Tensor) -> None:
    classifier = classifier_of(Gate(), EDGE, 2)
    found = DeepShap(classifier, DeepShapSpec(("zero",))).explain(tiles[:1], [1])
    picture = normalised(tiles[:1], classifier.card)[0]
    base = BASELINES["zero"](picture)
    sums, means = picture[0].sum() + base[0].sum(), picture[1].mean() + base[1].mean()
    moved = picture - base
    expected = -(moved[0] * means + moved[1] / moved[1].numel() * sums) / 2
    torch.testing.assert_close(found.maps[0, 0], expected, atol=1e-4, rtol=1e-4)


def test_a_network_is_as_before_afterwards(tiles: Tensor) -> None:
    classifier = classifier_of(plain("relu"), EDGE, 3)
    picture = normalised(tiles, classifier.card)
    before = classifier.logits_of(picture)
    DeepShap(classifier, DeepShapSpec(NAMES)).explain(tiles, [0])
    assert torch.equal(classifier.logits_of(picture), before)
