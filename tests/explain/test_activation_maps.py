"""Cheap maps are the papers' sums, from one pass, each class's gradient taken once, and raw."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection_with_sign_correction
from torch import nn

from slidecam.errors import ExplanationError
from slidecam.explain.activation_maps import (
    MapPlan,
    cheap_maps,
    eigen_cam,
    grad_cam_plus_plus,
    plan_maps,
)
from slidecam.explain.explainer import Gradients
from slidecam.models import Card, ClassifierPass, classifier_for
from slidecam.models.architectures import build_network

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from slidecam.models import Classifier

    Doubles = NDArray[np.float64]

EDGE = 32
CPU = torch.device("cpu")
LINEAR, DEEP = "slidecam/pocket_resnet", "slidecam/simple_cnn"
CHEAP = cheap_maps()
OF_GRADIENTS = [name for name, one in CHEAP.items() if one.needs in {"gradients", "rivals"}]


def classifier_on(architecture: str, classes: int = 3, split: str | None = None) -> Classifier:
    args: dict[str, object] = {"widths": [8, 12]} if architecture == LINEAR else {"input_px": EDGE}
    card = Card(
        name="case", architecture=architecture, class_names=tuple("abcdefgh"[:classes]),
        activation="softmax" if classes > 1 else "sigmoid",
        tile_px=EDGE, spacing=0.5, input_px=EDGE,
        mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), split=split,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = build_network(architecture, args, classes, Path("card.json"))
        for values in network.state_dict().values():
            if values.ndim > 1:
                values.mul_(2)
    return classifier_for(network, card, CPU)


def tiles(count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, EDGE, EDGE, 3), dtype=torch.uint8, generator=generator)


def curved_pass(tiles: int = 2) -> ClassifierPass:
    """Return a pass whose gradients differ by place and by tile, some of them below 0."""
    generator = torch.Generator().manual_seed(0)
    activation = torch.randn((tiles, 5, 3, 4), generator=generator).requires_grad_()
    weight = torch.randn((3, 5, 3, 4), generator=generator)
    logits = torch.stack([(activation.sin() * w).sum((1, 2, 3)) for w in weight], 1)
    return ClassifierPass(activation, logits)


def brute_force(name: str, a: Doubles, g: Doubles, rival: Doubles) -> Doubles:
    """Return one tile's map (h, w) of activation and gradients (C, h, w).

    It is worked out channel by channel and place by place.
    """
    channels, height, width = a.shape
    expected = np.zeros((height, width))
    for c in range(channels):
        total = a[c].sum()
        alpha = g[c] ** 2 / (2 * g[c] ** 2 + total * g[c] ** 3 + 1e-6)
        for y in range(height):
            for x in range(width):
                expected[y, x] += (
                    a[c, y, x]
                    * {
                        "gradcam": g[c].mean(),
                        "gradcam++": (alpha * np.maximum(g[c], 0)).sum(),
                        "hirescam": g[c, y, x],
                        "layercam": max(g[c, y, x], 0),
                        "finer-cam": (g[c] - rival[c]).mean(),
                    }[name]
                )
    return np.maximum(expected, 0)


@pytest.mark.parametrize("name", OF_GRADIENTS)
def test_raw_maps_are_the_papers_sums(name: str) -> None:
    passed = curved_pass()
    assert passed.activation is not None
    maps = MapPlan((CHEAP[name],), (2, 0), (1, 1))(passed)
    assert maps.shape == (2, 1, 2, 3, 4)
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    gradients = [
        torch.autograd.grad(passed.logits[:, k].sum(), passed.activation, retain_graph=True)[0]
        for k in range(3)
    ]
    a, g = passed.activation.detach().double().numpy(), [one.double().numpy() for one in gradients]
    for place, index in enumerate((2, 0)):
        for tile in range(2):
            expected = brute_force(name, a[tile], g[index][tile], g[1][tile])
            np.testing.assert_allclose(maps[tile, 0, place], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("eps", [0.0, 1e-6, 1e-3])
def test_the_epsilon_of_grad_cam_plus_plus_is_in_the_denominator(eps: float) -> None:
    activation = torch.ones(1, 1, 2, 2)
    maps = grad_cam_plus_plus(Gradients(activation, torch.full((1, 1, 1, 2, 2), 0.01)), eps)
    alpha = 1e-4 / (2e-4 + 4e-6 + eps)
    torch.testing.assert_close(maps, torch.full((1, 1, 2, 2), 4 * alpha * 0.01), rtol=1e-5, atol=0)


def test_channels_that_speak_against_a_class_add_nothing_to_grad_cam_plus_plus() -> None:
    activation = torch.ones(1, 2, 2, 2).requires_grad_()
    logits = (activation * torch.tensor([1.0, -1.0])[None, :, None, None]).sum((2, 3))
    maps = MapPlan((CHEAP["gradcam++"],), (0, 1))(ClassifierPass(activation, logits))
    assert float(maps[0, 0, 0].min()) > 0
    assert float(maps[0, 0, 1].max()) == 0


def test_places_without_gradient_are_zero_even_without_epsilon() -> None:
    given = Gradients(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 1, 2, 2))
    assert torch.equal(grad_cam_plus_plus(given, 0.0), torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("shape", [(2, 5, 3, 4), (1, 4, 6, 5), (3, 40, 2, 2), (1, 3, 1, 1)])
def test_eigen_cam_is_the_first_component_turned_to_its_farthest_place(
    shape: tuple[int, ...],
) -> None:
    activation = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    expected = np.maximum(get_2d_projection_with_sign_correction(activation.numpy()), 0)
    np.testing.assert_allclose(eigen_cam(activation), expected, atol=1e-5)
    np.testing.assert_allclose(eigen_cam(-activation), expected, atol=1e-5)


def test_a_tile_that_is_not_finite_spoils_no_other_tiles_component() -> None:
    activation = torch.randn((3, 5, 3, 4), generator=torch.Generator().manual_seed(1))
    expected = eigen_cam(activation)
    activation[1, 2, 0, 0] = torch.nan
    assert torch.equal(eigen_cam(activation)[[0, 2]], expected[[0, 2]])


def test_evidence_and_bias_are_the_logits_exactly() -> None:
    classifier = classifier_on(LINEAR)
    assert classifier.linear_head is not None
    passed = classifier.run(tiles(17), gradients=False)
    evidence = plan_maps(classifier, ["cam"], (0, 1, 2))(passed)[:, 0]
    assert float(evidence.min()) < 0 < float(evidence.max())
    torch.testing.assert_close(
        evidence.mean((2, 3)) + classifier.linear_head.bias, passed.logits, rtol=0, atol=1e-5
    )


def test_evidence_is_the_weighted_sum_of_channels() -> None:
    classifier = classifier_on(LINEAR)
    passed = classifier.run(tiles(), gradients=False)
    assert passed.activation is not None
    network: Any = classifier.network
    expected = torch.einsum("bchw,kc->bkhw", passed.activation, network.fc.weight[[2, 0]])
    torch.testing.assert_close(
        plan_maps(classifier, ["cam"], (2, 0))(passed)[:, 0], expected, rtol=1e-4, atol=1e-5
    )


def test_heads_that_are_more_than_linear_have_no_evidence() -> None:
    with pytest.raises(
        ExplanationError, match=r"CAM: case has more than a linear layer.*hirescam or gradcam"
    ):
        plan_maps(classifier_on(DEEP), ["gradcam", "cam"], (0,))


def test_the_closed_form_is_what_backward_passes_give() -> None:
    classifier = classifier_on(LINEAR)
    plan = plan_maps(classifier, list(CHEAP), (2, 0), 1)
    assert plan.head is not None
    assert not plan.gradients
    passed = classifier.run(tiles(), gradients=True)
    by_autograd = MapPlan(plan.maps, plan.classes, plan.rivals, head=None)
    assert by_autograd.gradients
    for closed, slow in zip(plan(passed).unbind(1), by_autograd(passed).unbind(1), strict=True):
        assert float((closed - slow).abs().max()) <= 1e-6 * float(slow.abs().max())
    assert torch.equal(plan(classifier.run(tiles(), gradients=False)), plan(passed))


def test_gradients_that_are_the_same_everywhere_are_kept_as_one_place() -> None:
    """What is measured here is time.

    A deep head on the average costs little more than a linear one.
    """
    activation = torch.rand(
        (2, 5, 3, 4), generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    logits = activation.mean((2, 3)).tanh()
    seen: list[tuple[int, ...]] = []
    one = CHEAP["gradcam"]
    spying = type(one)(
        one.title,
        lambda given: seen.append(tuple(given.gradient.shape)) or one.compute(given),  # type: ignore[func-returns-value]
    )
    MapPlan((spying,), (0, 1))(ClassifierPass(activation, logits))
    MapPlan((spying,), (0,))(curved_pass())
    assert seen == [(2, 1, 5, 1, 1), (2, 1, 5, 1, 1), (2, 1, 5, 3, 4)]


@pytest.mark.parametrize("architecture", [LINEAR, DEEP])
def test_one_backbone_pass_and_one_backward_for_each_class_make_all_maps(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    classifier = classifier_on(architecture)
    backbone: list[int] = []
    first = next(module for module in classifier.network.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_hook(lambda _layer, _inputs, output: backbone.append(len(output)))
    backward: list[int] = []
    grad = torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: backward.append(1) or grad(*a, **k))  # type: ignore[func-returns-value]
    methods = [name for name in CHEAP if name != "cam"]
    plan = plan_maps(classifier, methods, (0, 2), 1)
    maps = plan(classifier.run(tiles(), gradients=plan.gradients))
    assert maps.shape[:3] == (3, len(methods), 2)
    assert backbone == [3]
    assert len(backward) == (0 if architecture == LINEAR else 3)


def test_a_pass_can_be_explained_again_and_class_by_class() -> None:
    passed, maps = curved_pass(), (CHEAP["gradcam++"], CHEAP["layercam"])
    together = MapPlan(maps, (0, 1, 2))(passed)
    assert torch.equal(MapPlan(maps, (0, 1, 2))(passed), together)
    assert torch.equal(torch.cat([MapPlan(maps, (k,))(passed) for k in range(3)], 2), together)
    assert passed.activation is not None
    assert passed.activation.grad is None


def test_methods_keep_their_order_and_say_which_are_signed() -> None:
    classifier = classifier_on(LINEAR)
    passed = classifier.run(tiles(), gradients=False)
    plan = plan_maps(classifier, ["layercam", "cam", "eigencam"], (0, 1))
    assert plan.signed == (False, True, False)
    for place, name in enumerate(("layercam", "cam", "eigencam")):
        assert torch.equal(
            plan(passed)[:, place], plan_maps(classifier, [name], (0, 1))(passed)[:, 0]
        )


def test_eigen_cam_knows_of_no_class_and_needs_no_gradients() -> None:
    classifier = classifier_on(DEEP)
    plan = plan_maps(classifier, ["eigencam"], (0, 1))
    assert not plan.gradients
    maps = plan(classifier.run(tiles(), gradients=False))
    assert maps.shape[:3] == (3, 1, 2)
    assert torch.equal(maps[:, :, 0], maps[:, :, 1])


def test_finer_cam_of_two_classes_compares_each_with_the_other() -> None:
    classifier = classifier_on(LINEAR, classes=2)
    passed = classifier.run(tiles(), gradients=False)
    maps = plan_maps(classifier, ["finer-cam"], (0, 1))(passed)[:, 0]
    assert plan_maps(classifier, ["finer-cam"], (1, 0)).rivals == (0, 1)
    torch.testing.assert_close(
        maps[:, :1], plan_maps(classifier, ["finer-cam"], (0,), 1)(passed)[:, 0]
    )
    assert float((maps[:, 0] * maps[:, 1]).max()) == 0, (
        "what speaks for one speaks against the other"
    )


@pytest.mark.parametrize(("classes", "against", "said"), [
    (3, None, "has 3.*--against"), (1, None, "has 1"),
    (3, 0, "'a' with itself"), (3, 7, "no class 7"),
])  # fmt: skip
def test_finer_cam_without_another_class_is_refused(
    classes: int, against: int | None, said: str
) -> None:
    with pytest.raises(ExplanationError, match=said):
        plan_maps(classifier_on(LINEAR, classes), ["finer-cam"], (0,), against)


def test_the_callers_autocast_does_not_reach_in() -> None:
    classifier = classifier_on(DEEP)
    plan = plan_maps(classifier, [name for name in CHEAP if name != "cam"], (0,), 1)
    expected = plan(classifier.run(tiles(), gradients=True))
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert torch.equal(plan(classifier.run(tiles(), gradients=True)), expected)


def test_a_pass_without_what_a_plan_needs_is_refused() -> None:
    plan = MapPlan((CHEAP["gradcam"],), (0,))
    with pytest.raises(ExplanationError, match="no activation map"):
        plan(ClassifierPass(None, torch.zeros(1, 3)))
    with pytest.raises(ExplanationError, match="gradients=True"):
        plan(ClassifierPass(torch.zeros(1, 1, 2, 2), torch.zeros(1, 3)))


@pytest.mark.parametrize("classes", [(3,), (-1,), ()])
def test_classes_that_are_not_there_are_refused(classes: tuple[int, ...]) -> None:
    with pytest.raises(ExplanationError, match="class"):
        plan_maps(classifier_on(LINEAR), ["gradcam"], classes)


@pytest.mark.parametrize(
    ("methods", "said"),
    [(["lime"], "'lime' is no map for whole slides.*cam, gradcam"), ([], "No method")],
)
def test_methods_that_are_not_cheap_are_refused(methods: list[str], said: str) -> None:
    with pytest.raises(ExplanationError, match=said):
        plan_maps(classifier_on(LINEAR), methods, (0,))
