"""Several networks of one architecture that are one classifier: the mean of their logits.

Of members m = 1 … M with logits z_m, each calibrated by its own temperature T_m and biases b_m, the
ensemble's calibrated logits are the plain mean of the members' calibrated ones::

    z / T + b = mean_m (z_m / T_m + b_m)

so that the network gives ``z = sum_m s_m z_m`` with shares ``s_m = (1 / T_m) / sum_j (1 / T_j)``,
which are 1 / M where the temperatures are equal, and its card says ``T``, the harmonic mean of the
T_m, and ``b``, the mean of the b_m. Biases change no call; see `ClassSet`.

Its activation map is the members' maps side by side along the channels, on all of which the mean
logit hangs. So every explanation has its usual definition on one network: the gradient of the mean
logit through each member's layer. Sums over channels (CAM, Grad-CAM) are thereby the mean of the
members' maps, weighted by their shares; what weighs channels otherwise (Grad-CAM++) does so by
these gradients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from statistics import harmonic_mean
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from slidecam.errors import BundleError
from slidecam.models.architectures import ENSEMBLE, build_member
from slidecam.models.card_parts import MapEvidence
from slidecam.models.splits import (
    ClassifierPass,
    NetworkSplit,
    Through,
    TwoHalves,
    arithmetic,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from slidecam.models.bundle import Bundle
    from slidecam.models.card import Card

MEMBER, TEMPERATURES, BIASES = "member", "temperatures", "biases"
"""The arguments on its card, beside those of the members' architecture."""


class Ensemble(nn.Module):
    """Members of one architecture, whose logits are averaged.

    Parameters
    ----------
    num_classes
        Logits of each member.
    member
        The members' architecture, as cards write it.
    temperatures
        One for each member; there are as many members.
    biases
        The members' biases for each class, or nothing; they are the card's matter, and what the
        members' disagreement is measured with.
    arguments
        Of the members' architecture.
    """

    def __init__(
        self,
        num_classes: int,
        member: str,
        temperatures: Sequence[float],
        biases: Sequence[Sequence[float]] = (),
        **arguments: object,
    ) -> None:
        super().__init__()
        if member == ENSEMBLE or not temperatures or min(temperatures) <= 0:
            raise ValueError("an ensemble has members of another kind, each with a temperature")
        if biases and {len(each) for each in biases} != {num_classes}:
            raise ValueError("each member has one bias for each class")
        self.shares = _shares(temperatures)
        self.members = nn.ModuleList()
        for _temperature in temperatures:
            self.members.append(build_member(member, arguments, num_classes))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the shared mean of the members' logits, (B, K), of normalised pixels."""
        logits = [member(pixels) for member in self.members]
        return _mean(logits, self.shares)


def _shares(temperatures: Sequence[float]) -> tuple[float, ...]:
    total = math.fsum(1 / each for each in temperatures)
    return tuple(1 / each / total for each in temperatures)


def _mean(
    logits: Sequence[Tensor],
    shares: Sequence[float],
) -> Tensor:
    mean = logits[0] * shares[0]
    for place in range(1, len(logits)):
        other = logits[place]
        mean = mean + other * shares[place]
    return mean


def first_of(network: nn.Module) -> nn.Module:
    """Return the network in which a layer's name is looked up: an ensemble's first member."""
    if isinstance(network, Ensemble):
        return network.members[0]
    return network


def layers_named(network: nn.Module, name: str | None) -> frozenset[nn.Module]:
    """Return the layer of a name, in an ensemble that of each member; none for None."""
    if name is None:
        return frozenset()
    if isinstance(network, Ensemble):
        return frozenset(member.get_submodule(name) for member in network.members)
    return frozenset([network.get_submodule(name)])


@dataclass(frozen=True)
class SideBySide:
    """The members' networks, each cut in two, as one `NetworkSplit`.

    Attributes
    ----------
    members
        One for each member.
    shares
        Of their logits in the mean.
    """

    members: tuple[NetworkSplit, ...]
    shares: tuple[float, ...]

    def __call__(
        self,
        pixels: Tensor,
        *,
        gradients: bool,
        through: Through | None = None,
    ) -> ClassifierPass:
        """Return the pass; see `NetworkSplit`. One member is computed after the other.

        Networks that are cut at a named layer run twice where logits are to hang on the activation:
        the first pass finds the activation of all members.
        """
        if not gradients and through is None:
            return self._plain(pixels)
        begun = [_begun(each, pixels) for each in self.members]
        maps = [each.activation for each in begun]
        leaf = torch.cat(maps, 1)
        leaf.requires_grad_(gradients)
        with (
            torch.set_grad_enabled(gradients),
            arithmetic(pixels.device, "fp32"),
        ):
            seen = leaf
            if through is not None:
                seen = through(leaf)
            parts = seen.chunk(len(begun), 1)
            logits = []
            for each, part in zip(begun, parts, strict=True):
                own = each.finish(part)
                logits.append(own.float())
            return self._pass(leaf, logits)

    def _plain(self, pixels: Tensor) -> ClassifierPass:
        logits, maps = [], []
        for member in self.members:
            passed = member(pixels, gradients=False)
            logits.append(passed.logits)
            if passed.activation is not None:
                maps.append(passed.activation)
        if not maps:
            return self._pass(None, logits)
        return self._pass(torch.cat(maps, 1), logits)

    def _pass(
        self,
        activation: Tensor | None,
        logits: list[Tensor],
    ) -> ClassifierPass:
        return ClassifierPass(
            activation,
            logits=_mean(logits, self.shares),
            members=torch.stack(logits).detach(),
        )


@dataclass(frozen=True)
class _Begun:
    """A member's activation (B, C, h, w), and what makes logits of one."""

    activation: Tensor
    finish: Callable[[Tensor], Tensor]


def _begun(member: NetworkSplit, pixels: Tensor) -> _Begun:
    if isinstance(member, TwoHalves):
        raw = member.backbone(pixels)
        layout = member.layout(raw)

        def head(seen: Tensor) -> Tensor:
            # A copy in the network's own order: heads may compute in place.
            return member.head(layout.raw_of(seen, raw.detach()).clone())

        return _Begun(layout.map_of(raw.detach()).float(), head)
    activation = member(pixels, gradients=False).activation
    assert activation is not None  # noqa: S101  (it has a map)

    def again(seen: Tensor) -> Tensor:
        passed = member(
            pixels,
            gradients=seen.requires_grad,
            through=partial(_replaced, seen),
        )
        return passed.logits

    return _Begun(activation, again)


def _replaced(seen: Tensor, _activation: Tensor) -> Tensor:
    return seen


def ensemble_of(bundles: Sequence[Bundle], name: str) -> tuple[Card, Iterator[tuple[str, Tensor]]]:
    """Return the card of bundles' ensemble, and its weights, member by member.

    Its provenance holds the members' and nothing of its own: whoever makes it knows more.

    Raises
    ------
    BundleError
        If there is none, or they differ in what they are given or in what they call.
    """
    first = bundles[0].card
    for bundle in bundles:
        if _kind(bundle.card) != _kind(first):
            raise BundleError(
                bundle.path,
                f"it is no network of the kind of {bundles[0].path}.",
                "Join folds of one training.",
            )
    temperatures = [each.card.temperature for each in bundles]
    arguments: dict[str, object] = {
        **first.architecture_args,
        MEMBER: first.architecture,
        TEMPERATURES: temperatures,
    }
    none = (0.0,) * len(first.class_names)
    biases: list[list[float]] = []
    for bundle in bundles:
        own = bundle.card.class_biases
        biases.append(list(own or none))
    mean_biases: tuple[float, ...] = ()
    if any(map(any, biases)):
        arguments[BIASES] = biases
        values = torch.tensor(biases).double()
        mean_biases = tuple(values.mean(0).tolist())
    card = replace(
        first,
        name=name,
        architecture=ENSEMBLE,
        architecture_args=arguments,
        temperature=harmonic_mean(temperatures),
        class_biases=mean_biases,
        calibrated_on=sum(each.card.calibrated_on for each in bundles),
        provenance={"members": [each.as_parent for each in bundles]},
        heatmap_evidence=_evidence([each.card for each in bundles]),
    )
    return card, _weights(bundles)


def _kind(card: Card) -> Card:
    """Return a card without what is each training's own."""
    return replace(
        card,
        name="",
        temperature=1.0,
        class_biases=(),
        calibrated_on=0,
        provenance={},
        heatmap_evidence=None,
        weights_sha256="",
    )


def _weights(bundles: Sequence[Bundle]) -> Iterator[tuple[str, Tensor]]:
    for number, bundle in enumerate(bundles):
        state = bundle.network().state_dict()
        for name, tensor in state.items():
            yield f"members.{number}.{name}", tensor


def _evidence(cards: Sequence[Card]) -> MapEvidence | None:
    """Return what was measured of the members' maps, added up; None where of one there is none."""
    first = cards[0].heatmap_evidence
    if first is None:
        return None
    judged = dict(first.methods)
    for card in cards[1:]:
        own = card.heatmap_evidence
        if own is None:
            return None
        for name in [*judged]:
            if name in own.methods:
                judged[name] = judged[name].and_that(own.methods[name])
            else:
                del judged[name]
    count = len(cards)
    on = f"each of {count} members by itself, {first.on} of the first"
    return MapEvidence(on, first.explained, judged)


def disagreement(logits: Tensor, card: Card) -> Tensor:
    """Return how far the members of an ensemble disagree of each tile, from 0 to 1, float32, (B,).

    Parameters
    ----------
    logits
        The members', (M, B, K).
    card
        The ensemble's.

    Notes
    -----
    The mean Kullback-Leibler divergence of the members' probabilities from their mean, by which
    Lakshminarayanan et al. (NeurIPS 2017) measure disagreement; it is the Jensen-Shannon
    divergence, and the mutual information of the class and the member (Houlsby et al., 2011). It is
    a share of its largest, log min(M, K): 0 where all members say the same, 1 where they are
    certain of as different classes as can be. Of classes that stand for themselves (sigmoid) each
    is held against its absence, and the largest counts.
    """
    said: Mapping[str, Any] = card.architecture_args
    temperatures = logits.new_tensor(said[TEMPERATURES])
    biases = logits.new_tensor(said.get(BIASES) or [[0.0]])
    cooled = logits / temperatures[:, None, None]
    cooled = (cooled + biases[:, None, :]).double()
    if card.activation == "softmax":
        return _divergence(cooled.softmax(-1)).float()
    shares = cooled.sigmoid()
    return _divergence(torch.stack([shares, 1 - shares], -1)).amax(-1).float()


def _divergence(shares: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence over the first axis, of distributions on the last."""
    entropy = torch.special.entr
    kinds = min(shares.shape[0], shares.shape[-1])
    most = math.log(kinds) or 1.0
    whole = entropy(shares.mean(0)).sum(-1)
    own = entropy(shares).sum(-1).mean(0)
    share: Tensor = (whole - own) / most
    return share.clamp(0, 1)
