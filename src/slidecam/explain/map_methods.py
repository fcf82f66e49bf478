"""The cheap activation maps (`activation_maps`) as explainers, each with its settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch

from slidecam.explain.activation_maps import CHEAP, EPSILON, GAMMA, finer_cam, grad_cam_plus_plus, plan_of
from slidecam.explain.explainer import Explainer, Explanation, Method
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from torch import Tensor

    from slidecam.explain.activation_maps import CheapMap
    from slidecam.models import Classifier

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
        Added to the denominator of alpha. It is absolute and as large as squared gradients are, so that the map depends
        on it; the default is pytorch-grad-cam's.
    """

    eps: float = EPSILON


@dataclass(frozen=True)
class FinerCamSpec:
    """Settings of Finer-CAM.

    Attributes
    ----------
    against
        Index of the class that the others are compared with; None for the other one of two.
    gamma
        How strongly: 0 is Grad-CAM, 1 the difference between both logits.
    """

    against: int | None = None
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
        return Explanation(self.name, torch.cat(logits), torch.cat(maps), passes=1, facts=self.facts)


def _method(name: str, spec: type[Any], make: Callable[[Classifier, Any], Explainer]) -> Method:
    cheap = CHEAP[name]
    return Method(name, cheap.title, spec, make, signed=cheap.signed, dear=False)


def _without_settings(name: str) -> Method:
    return _method(name, NoSettings, lambda classifier, _spec: MapExplainer(classifier, name, CHEAP[name]))


def _grad_cam_plus_plus(classifier: Classifier, spec: GradCamPlusPlusSpec) -> MapExplainer:
    bound = replace(CHEAP["gradcam++"], compute=partial(grad_cam_plus_plus, eps=spec.eps))
    return MapExplainer(classifier, "gradcam++", bound, asdict(spec))


def _finer_cam(classifier: Classifier, spec: FinerCamSpec) -> MapExplainer:
    bound = replace(CHEAP["finer-cam"], compute=partial(finer_cam, gamma=spec.gamma))
    return MapExplainer(classifier, "finer-cam", bound, asdict(spec), spec.against)


METHODS: tuple[Method, ...] = (
    _without_settings("cam"),
    _without_settings("gradcam"),
    _method("gradcam++", GradCamPlusPlusSpec, _grad_cam_plus_plus),
    _without_settings("hirescam"),
    _without_settings("layercam"),
    _without_settings("eigencam"),
    _method("finer-cam", FinerCamSpec, _finer_cam),
)
