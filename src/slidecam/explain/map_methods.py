"""The cheap activation maps (`activation_maps`) as explainers, each with its settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import torch

from slidecam.errors import ExplanationError
from slidecam.explain.activation_maps import (
    EPSILON,
    GAMMA,
    cheap_map,
    check_rival,
    finer_cam,
    grad_cam_plus_plus,
    plan_of,
)
from slidecam.explain.explainer import CLASSLESS, Explainer, Explanation, check_least
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from torch import Tensor

    from slidecam.explain.activation_maps import CheapMap
    from slidecam.models import Card, Classifier

BATCH = 16
"""Tiles in one pass: the best on a CPU, and little for a GPU."""


@dataclass(frozen=True)
class NoSettings:
    """The settings of a method that has none."""


@dataclass(frozen=True)
class GradCamPlusPlusSpec:
    """Settings of Grad-CAM++.

    Attributes
    ----------
    eps
        Added to the denominator of alpha. It is absolute and as large as squared gradients are, so
        that the map depends on it; the default is pytorch-grad-cam's.
    """

    eps: float = EPSILON


@dataclass(frozen=True)
class FinerCamSpec:
    """Settings of Finer-CAM.

    Attributes
    ----------
    against
        Name of the class that the others are compared with, or its index; None for the other one of
        two. Where it is the very class that is explained, each tile's is compared with the
        likeliest other one.
    gamma
        How strongly: 0 is Grad-CAM, 1 the difference between both logits.
    """

    against: str | int | None = None
    gamma: float = GAMMA


class MapExplainer(Explainer):
    """A cheap map of tiles, batch by batch.

    Parameters
    ----------
    classifier
        On its device.
    name, cheap
        The method's name, and its map with settings bound.
    facts
        What is told with the map.
    against
        The class that others are compared with, for maps that compare.
    """

    def __init__(
        self,
        classifier: Classifier,
        name: str,
        cheap: CheapMap,
        facts: Mapping[str, Any] = MappingProxyType({}),
        against: int | None = None,
    ) -> None:
        super().__init__(classifier)
        self.name, self.cheap, self.facts, self.against = name, cheap, facts, against

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain tiles batch by batch; see `Explainer.steps`."""
        plan = plan_of(self.classifier, [self.cheap], classes, self.against)
        logits, maps, done = [], [], 0
        for batch in torch.split(pixels, BATCH):
            passed = self.classifier.run(batch, gradients=plan.gradients)
            logits.append(passed.logits.detach())
            maps.append(plan(passed)[:, 0])
            done += len(batch)
            yield Step(self.cheap.title, done, len(pixels))
        return Explanation(
            self.name, torch.cat(logits), torch.cat(maps), passes=1, facts=self.facts
        )


class FinerCam(MapExplainer):
    """Finer-CAM, which also explains the class that the others are compared with.

    Against each tile's likeliest other.

    Parameters
    ----------
    classifier
        On its device.
    spec
        Its settings.

    Raises
    ------
    ExplanationError
        If there is no such class to compare with, or none was named where there are several.
    """

    def __init__(self, classifier: Classifier, spec: FinerCamSpec) -> None:
        check_least("Finer-CAM", spec, gamma=0)
        bound = replace(cheap_map("finer-cam"), compute=partial(finer_cam, gamma=spec.gamma))
        against = rival_index(classifier.card, spec.against)
        check_rival(classifier, against)
        facts = {"against": _rival_text(classifier.card, against), "gamma": spec.gamma}
        super().__init__(classifier, "finer-cam", bound, facts, against)

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain tiles batch by batch, or one by one where the rival hangs on the tile.

        See `Explainer.steps`.
        """
        if self.against not in classes:
            return (yield from super().steps(pixels, classes))
        plan = plan_of(self.classifier, [replace(self.cheap, needs="gradients")], classes)
        logits, maps = [], []
        for tile in torch.split(pixels, 1):
            passed = self.classifier.run(tile, gradients=plan.gradients)
            logits.append(passed.logits.detach())
            maps.append(replace(plan, rivals=self._rivals(logits[-1][0], classes))(passed)[:, 0])
            yield Step(self.cheap.title, len(maps), len(pixels))
        return Explanation(
            self.name, torch.cat(logits), torch.cat(maps), passes=1, facts=self.facts
        )

    def _rivals(self, logits: Tensor, classes: Sequence[int]) -> tuple[int, ...]:
        others = logits.clone()
        others[self.against] = -torch.inf
        runner_up = int(others.argmax())
        return tuple(
            runner_up if index == self.against else cast("int", self.against) for index in classes
        )


def rival_index(card: Card, against: str | int | None) -> int | None:
    """Return the place of the class to compare with, named or numbered.

    Raises
    ------
    ExplanationError
        If the card has no class of this name.
    """
    names = card.class_names
    if not isinstance(against, str) or against in names:
        if isinstance(against, str):
            return names.index(against)
        return against
    if against.isdecimal():
        return int(against)
    problem = f"Finer-CAM: {card.name} has no class {against!r} to compare with."
    raise ExplanationError(problem, f"Its classes are: {', '.join(names[:16])}.")


def _rival_text(card: Card, against: int | None) -> str:
    if against is None:
        return "the other class"
    name = card.class_names[against]
    return f"{name}; {name} itself against each tile's likeliest other class"


def _plain(name: str) -> Callable[[Classifier, NoSettings], MapExplainer]:
    """Return what makes the explainer of a map without settings."""

    def make(classifier: Classifier, _spec: NoSettings) -> MapExplainer:
        cheap = cheap_map(name)
        facts = CLASSLESS if cheap.needs == "nothing" else {}
        return MapExplainer(classifier, name, cheap, facts)

    return make


cam = _plain("cam")
gradcam = _plain("gradcam")
hirescam = _plain("hirescam")
layercam = _plain("layercam")
eigencam = _plain("eigencam")


def gradcam_plus_plus(classifier: Classifier, spec: GradCamPlusPlusSpec) -> MapExplainer:
    """Return Grad-CAM++ under its settings; ExplanationError if they make no sense."""
    check_least("Grad-CAM++", spec, eps=0)
    bound = replace(cheap_map("gradcam++"), compute=partial(grad_cam_plus_plus, eps=spec.eps))
    return MapExplainer(classifier, "gradcam++", bound, asdict(spec))
