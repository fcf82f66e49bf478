"""An ensemble's logits are its members' mean, and it is a bundle like any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
import pytest
import torch

from slidecam.errors import BundleError, CardError
from slidecam.explain.activation_maps import plan_maps
from slidecam.models import open_bundle, save_bundle
from slidecam.models.architectures import build_network
from slidecam.models.card_parts import MapEvidence, MapJudgement
from slidecam.models.classifier import normalised
from slidecam.models.contract import BundleCase, BundleContract
from slidecam.models.ensemble import Ensemble, disagreement
from slidecam.models.ensemble_bundle import ensemble_of

if TYPE_CHECKING:
    from pathlib import Path

    from models.conftest import MakeCard
    from slidecam.models import Bundle, Card

TEMPERATURES, BIASES = (0.83, 1.94, 1.31), ((0.21, -0.4, 0.13), (), (-0.37, 0.29, 0.06))


class MakeMembers(Protocol):
    def __call__(self, **changes: object) -> list[Bundle]: ...


@pytest.fixture
def members(tmp_path: Path, make_card: MakeCard) -> MakeMembers:
    """Return a maker of three bundles of one kind, each with its own weights and calibration."""

    def make(**changes: object) -> list[Bundle]:
        made = []
        for number, (temperature, biases) in enumerate(zip(TEMPERATURES, BIASES, strict=True)):
            own: dict[str, object] = {"temperature": temperature, "calibrated_on": 40 + number}
            if changes.get("activation", "softmax") == "softmax":
                own["class_biases"] = biases
            card = make_card(3, **{**own, **changes})
            folder = tmp_path / f"member-{number}"
            made.append(save_bundle(folder, card, weights_of(card, number, folder)))
        return made

    return make


def weights_of(card: Card, seed: int, folder: Path) -> torch.nn.Module:
    network = build_network(card.architecture, card.architecture_args, 3, folder)
    generator = torch.Generator().manual_seed(seed)
    for name, values in network.state_dict().items():
        if values.is_floating_point():
            noise = torch.rand(values.shape, generator=generator)
            is_scale = values.ndim == 1 and name.endswith(("weight", "running_var"))
            spread = 0.4 if values.ndim == 1 else float(12 / values[0].numel()) ** 0.5
            values.copy_(0.5 + noise if is_scale else (noise - 0.5) * spread)
    return network


def joined(bundles: list[Bundle], folder: Path) -> Bundle:
    card, weights = ensemble_of(bundles, "joined")
    return save_bundle(folder, card, dict(weights))


def tiles(count: int = 5, edge: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(8)
    return torch.randint(0, 256, (count, edge, edge, 3), generator=generator).to(torch.uint8)


@pytest.mark.parametrize("backend", ["eager", "folded"])
def test_calibrated_logits_are_the_plain_mean_of_the_members_own(
    tmp_path: Path, members: MakeMembers, backend: str
) -> None:
    bundles = members()
    classifier = joined(bundles, tmp_path / "joined").classifier(backend=backend)
    passed = classifier.run(tiles(), gradients=False)
    seen, cooled = normalised(tiles(), bundles[0].card), []
    with torch.no_grad():
        for bundle, biases in zip(bundles, BIASES, strict=True):
            own = bundle.network()(seen) / bundle.card.temperature
            cooled.append(own + torch.tensor(biases or (0.0,) * 3))
    expected = torch.stack(cooled).mean(0)
    card = classifier.card
    found = passed.logits / card.temperature + torch.tensor(card.class_biases)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    shares = classifier.probabilities(passed.logits)
    torch.testing.assert_close(shares, expected.softmax(1), atol=1e-6, rtol=1e-6)
    assert card.calibrated_on == 123
    assert 1 / card.temperature == pytest.approx(np.mean(1 / np.array(TEMPERATURES)))


def test_members_of_one_temperature_have_the_plain_mean_for_logits(
    tmp_path: Path, members: MakeMembers
) -> None:
    bundles = members(temperature=1.0, class_biases=())
    bundle = joined(bundles, tmp_path / "joined")
    seen = normalised(tiles(), bundle.card)
    with torch.no_grad():
        each = torch.stack([member.network()(seen) for member in bundles])
        found = bundle.network()(seen)
    torch.testing.assert_close(found, each.mean(0), atol=1e-6, rtol=1e-6)
    assert bundle.card.temperature == 1
    assert bundle.card.class_biases == ()


def test_cam_and_gradcam_are_the_members_mean_by_their_shares(
    tmp_path: Path, members: MakeMembers
) -> None:
    bundles = members()
    bundle = joined(bundles, tmp_path / "joined")
    classifier = bundle.classifier()
    network = bundle.network()
    assert isinstance(network, Ensemble)
    own, seen = [], normalised(tiles(), bundle.card)
    for member in network.members:
        activation = member.forward_features(seen).detach().requires_grad_()  # type: ignore[operator]
        logits = member.forward_head(activation)  # type: ignore[operator]
        rows = []
        for index in range(3):
            (gradient,) = torch.autograd.grad(logits[:, index].sum(), activation, retain_graph=True)
            rows.append((gradient.sum((2, 3), keepdim=True) * activation.detach()).sum(1))
        own.append(torch.stack(rows, 1))
    shares = torch.tensor(network.shares)[:, None, None, None, None]
    expected = (torch.stack(own) * shares).sum(0)
    plan = plan_maps(classifier, ("cam", "gradcam"), (0, 1, 2))
    passed = classifier.run(tiles(), gradients=plan.gradients)
    maps = plan(passed)
    torch.testing.assert_close(maps[:, 0], expected, atol=1e-6, rtol=1e-5)
    places = expected.shape[-1] * expected.shape[-2]
    torch.testing.assert_close(maps[:, 1], expected.clamp_min(0) / places, atol=1e-6, rtol=1e-5)
    assert classifier.linear_head is not None
    left = passed.logits - maps[:, 0].mean((2, 3))
    torch.testing.assert_close(left, classifier.linear_head.bias.expand_as(left), atol=1e-5, rtol=0)


def test_gradcam_plus_plus_takes_the_mean_logits_gradient_through_each_members_layer(
    tmp_path: Path, members: MakeMembers
) -> None:
    bundle = joined(members(), tmp_path / "joined")
    network = bundle.network()
    assert isinstance(network, Ensemble)
    seen = normalised(tiles(), bundle.card)
    layers = [
        member.forward_features(seen).detach().requires_grad_()  # type: ignore[operator]
        for member in network.members
    ]
    logit = torch.zeros(len(seen))
    for member, layer, share in zip(network.members, layers, network.shares, strict=True):
        logit = logit + share * member.forward_head(layer)[:, 1]  # type: ignore[operator]
    expected = torch.zeros(())
    for layer, gradient in zip(layers, torch.autograd.grad(logit.sum(), layers), strict=True):
        total = layer.detach().sum((2, 3), keepdim=True)
        alpha = gradient**2 / (2 * gradient**2 + total * gradient**3 + 1e-6)
        weights = (alpha * gradient.clamp_min(0)).sum((2, 3), keepdim=True)
        expected = expected + (weights * layer.detach()).sum(1)
    classifier = bundle.classifier()
    plan = plan_maps(classifier, ("gradcam++",), (1,))
    maps = plan(classifier.run(tiles(), gradients=plan.gradients))
    torch.testing.assert_close(maps[:, 0, 0], expected.clamp_min(0), atol=1e-6, rtol=1e-5)


def test_disagreement_is_the_mean_divergence_from_the_members_mean(
    tmp_path: Path, members: MakeMembers
) -> None:
    bundles = members()
    classifier = joined(bundles, tmp_path / "joined").classifier()
    found = classifier.disagreement(classifier.run(tiles(), gradients=False))
    shares = []
    for bundle in bundles:
        own = bundle.classifier(backend="eager")
        shares.append(own.probabilities(own.run(tiles(), gradients=False).logits).numpy())
    values = np.array(shares, np.float64)
    mean = values.mean(0)
    divergence = (values * np.log(values / mean)).sum(2).mean(0) / np.log(3)
    assert found is not None
    np.testing.assert_allclose(found.numpy(), divergence, atol=1e-6)
    assert (
        bundles[0].classifier().disagreement(bundles[0].classifier().run(tiles(), gradients=False))
        is None
    )


def test_members_of_one_mind_disagree_by_nothing_and_opposed_ones_by_all(
    tmp_path: Path, members: MakeMembers
) -> None:
    card = joined(members(temperature=1.0, class_biases=()), tmp_path / "joined").card
    one = torch.tensor([[2.0, -1.0, 0.5]]).expand(3, 1, 3)
    assert float(disagreement(one, card.architecture_args, card.activation)) == pytest.approx(
        0, abs=1e-7
    )
    assert float(
        disagreement(100 * torch.eye(3)[:, None, :], card.architecture_args, card.activation)
    ) == pytest.approx(1)


def test_what_differs_in_kind_is_no_ensemble(tmp_path: Path, members: MakeMembers) -> None:
    bundles = members()
    other = save_bundle(
        tmp_path / "other",
        bundles[0].card.__class__(**{**vars(bundles[0].card), "spacing": 0.25}),
        bundles[0].network(),
    )
    with pytest.raises(BundleError, match="no network of the kind"):
        ensemble_of([*bundles, other], "joined")


def test_a_card_of_an_ensemble_of_ensembles_is_refused(
    tmp_path: Path, members: MakeMembers
) -> None:
    card, _weights = ensemble_of(members(), "joined")
    args = {**card.architecture_args, "member": "slidecam/ensemble"}
    with pytest.raises(CardError, match="members of another kind"):
        build_network("slidecam/ensemble", args, 3, tmp_path / "card.json")


def test_what_was_measured_of_the_members_maps_adds_up(
    tmp_path: Path, members: MakeMembers
) -> None:
    found = MapEvidence("24 pictures", "each tile's own class", {"cam": MapJudgement(7, 5, 1)})
    card = joined(members(heatmap_evidence=found), tmp_path / "joined").card
    assert card.heatmap_evidence is not None
    assert card.heatmap_evidence.methods == {"cam": MapJudgement(21, 15, 3)}
    assert "each of 3 members" in card.heatmap_evidence.on


@pytest.fixture(params=["eager", "folded"])
def backend(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    return chosen


class TestEnsemble(BundleContract):
    @pytest.fixture
    def case(self, tmp_path: Path, members: MakeMembers, backend: str) -> BundleCase:
        bundle = open_bundle(joined(members(), tmp_path / "joined").path)
        return BundleCase(bundle, "slidecam", has_map=True, backend=backend)


class TestEnsembleAtANamedLayer(BundleContract):
    @pytest.fixture
    def case(self, tmp_path: Path, members: MakeMembers, backend: str) -> BundleCase:
        bundle = joined(members(split="stages.0"), tmp_path / "joined")
        return BundleCase(bundle, "slidecam", has_map=True, backend=backend)


class TestGreyEnsemble(BundleContract):
    @pytest.fixture
    def case(self, tmp_path: Path, members: MakeMembers, backend: str) -> BundleCase:
        bundle = joined(members(channels=1, mean=(0.6,), std=(0.2,)), tmp_path / "joined")
        return BundleCase(bundle, "slidecam", has_map=True, backend=backend)


class TestEnsembleOfTransformers(BundleContract):
    @pytest.fixture
    def case(self, tmp_path: Path, members: MakeMembers, backend: str) -> BundleCase:
        vit = {"architecture": "timm/test_vit", "architecture_args": {"img_size": 32}}
        bundle = joined(members(**vit), tmp_path / "joined")
        return BundleCase(bundle, "slidecam", has_map=True, backend=backend)
