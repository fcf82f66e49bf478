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
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from slidecam.models.splits import (
    ClassifierPass,
    NetworkSplit,
    Through,
    TwoHalves,
    arithmetic,
    put_instead,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


MEMBER, TEMPERATURES, BIASES = "member", "temperatures", "biases"
"""The arguments on its card, beside those of the members' architecture."""


class Ensemble(nn.Module):
    """Members of one architecture, whose logits are averaged.

    Parameters
    ----------
    members
        The networks.
    temperatures
        One for each.
    """

    def __init__(self, members: Sequence[nn.Module], temperatures: Sequence[float]) -> None:
        super().__init__()
        self.shares = _shares(temperatures)
        self.members = nn.ModuleList(members)

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
            through=partial(put_instead, seen),
        )
        return passed.logits

    return _Begun(activation, again)


def disagreement(logits: Tensor, arguments: Mapping[str, Any], activation: str) -> Tensor:
    """Return how far the members of an ensemble disagree of each tile, from 0 to 1, float32, (B,).

    Parameters
    ----------
    logits
        The members', (M, B, K).
    arguments, activation
        On the ensemble's card.

    Notes
    -----
    The mean Kullback-Leibler divergence of the members' probabilities from their mean, by which
    Lakshminarayanan et al. (NeurIPS 2017) measure disagreement; it is the Jensen-Shannon
    divergence, and the mutual information of the class and the member (Houlsby et al., 2011). It is
    a share of its largest, log min(M, K): 0 where all members say the same, 1 where they are
    certain of as different classes as can be. Of classes that stand for themselves (sigmoid) each
    is held against its absence, and the largest counts.
    """
    temperatures = logits.new_tensor(arguments[TEMPERATURES])
    biases = logits.new_tensor(arguments.get(BIASES) or [[0.0]])
    cooled = logits / temperatures[:, None, None]
    cooled = (cooled + biases[:, None, :]).double()
    if activation == "softmax":
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
