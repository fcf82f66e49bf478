"""The cheap activation maps (`activation_maps`) as explainers, each with its settings.

DT Grad-CAM is Grad-CAM kept only at or above a threshold, which is found from the map itself.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast, get_args

import torch

from slidecam.class_names import classes_meant
from slidecam.errors import ExplanationError
from slidecam.explain.activation_maps import (
    CheapMap,
    cheap_map,
    check_rival,
    finer_cam,
    grad_cam_plus_plus,
    plan_of,
)
from slidecam.explain.explainer import (
    CLASSLESS,
    Explainer,
    Explanation,
    check_least,
)
from slidecam.explain.method_settings import (
    DtGradCamSpec,
    FinerCamSpec,
    GradCamPlusPlusSpec,
    NoSettings,
    Scope,
)
from slidecam.parsing import whole_number
from slidecam.steps import Step
from slidecam.thresholds import threshold_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from torch import Tensor

    from slidecam.models import Card, Classifier

BATCH = 16
"""Tiles in one pass: the best on a CPU, and little for a GPU."""


class MapExplainer(Explainer):
    """A cheap map of tiles, batch by batch.

    Parameters
    ----------
    classifier
        On its device.
    name, cheap
        The method's name, and its map with settings bound.
    facts
        What is said beside the map.
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
        return self._explanation(logits, maps)

    def _explanation(self, logits: list[Tensor], maps: list[Tensor]) -> Explanation:
        return Explanation(self.name, torch.cat(logits), torch.cat(maps), 1, self.facts)


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
        against = _rival_index(classifier.card, spec.against)
        check_rival(classifier, against)
        words = "the other class"
        if against is not None:
            name = classifier.card.class_names[against]
            words = f"{name}; {name} itself against each tile's likeliest other class"
        facts = {"against": words, "gamma": spec.gamma}
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
        return self._explanation(logits, maps)

    def _rivals(self, logits: Tensor, classes: Sequence[int]) -> tuple[int, ...]:
        against = cast("int", self.against)
        others = logits.clone()
        others[against] = -torch.inf
        rivals = dict.fromkeys(classes, against)
        rivals[against] = int(others.argmax())
        return tuple(rivals[index] for index in classes)


def _rival_index(card: Card, against: str | int | None) -> int | None:
    """Return the place of the class to compare with, named or numbered; ExplanationError if none.

    A class may be called as a number is.
    """
    if not isinstance(against, str):
        return against
    if against in card.class_names:
        return card.class_names.index(against)
    if (number := whole_number(against)) is not None:
        return number
    problem = f"Finer-CAM: {card.name} has no class {against!r} to compare with."
    raise ExplanationError(problem, classes_meant(against, card.class_names))


def _plain(name: str, classifier: Classifier, _spec: NoSettings) -> MapExplainer:
    """Return the explainer of a map without settings."""
    cheap = cheap_map(name)
    if cheap.needs == "nothing":
        return MapExplainer(classifier, name, cheap, CLASSLESS)
    return MapExplainer(classifier, name, cheap)


cam = partial(_plain, "cam")
gradcam = partial(_plain, "gradcam")
hirescam = partial(_plain, "hirescam")
layercam = partial(_plain, "layercam")
eigencam = partial(_plain, "eigencam")


def gradcam_plus_plus(classifier: Classifier, spec: GradCamPlusPlusSpec) -> MapExplainer:
    """Return Grad-CAM++ under its settings; ExplanationError if they make no sense."""
    check_least("Grad-CAM++", spec, eps=0)
    bound = replace(cheap_map("gradcam++"), compute=partial(grad_cam_plus_plus, eps=spec.eps))
    return MapExplainer(classifier, "gradcam++", bound, asdict(spec))


class DtGradCam(Explainer):
    """Grad-CAM with dynamic thresholding, as we read it.

    Raises
    ------
    ExplanationError
        If there is no such scope.

    Notes
    -----
    *DALAResNet50 for automatic histopathology breast cancer image classification with DT Grad-CAM*
    (arXiv:2308.13150) names the method; neither a formula of its threshold nor code is published.
    Our reading: ``h`` where ``h >= T`` and 0 elsewhere, of the raw Grad-CAM map ``h``, with ``T``
    by one of the rules in `thresholds`, Otsu's by default.
    """

    def __init__(self, classifier: Classifier, spec: DtGradCamSpec) -> None:
        super().__init__(classifier)
        if spec.scope not in get_args(Scope):
            problem = f"DT Grad-CAM has no scope {spec.scope!r}."
            raise ExplanationError(problem, f"Use {' or '.join(get_args(Scope))}.")
        self.spec = spec
        grad_cam = replace(cheap_map("gradcam"), title="DT Grad-CAM")
        self.grad_cam = MapExplainer(classifier, "dt-gradcam", grad_cam)

    def steps(self, pixels: Tensor, classes: Sequence[int]) -> Generator[Step, None, Explanation]:
        """Explain tiles batch by batch; see `Explainer.steps`."""
        whole = yield from self.grad_cam.steps(pixels, classes)
        thresholds = self._thresholds(whole.maps)
        maps = torch.where(whole.maps >= thresholds[..., None, None], whole.maps, 0.0)
        facts = {
            "threshold": str(self.spec.threshold),
            "scope": self.spec.scope,
            "thresholds": thresholds.tolist(),
            "reading": "our reading of arXiv:2308.13150, which states no formula",
        }
        return replace(whole, maps=maps, facts=facts)

    def _thresholds(self, maps: Tensor) -> Tensor:
        """Return thresholds (B, K') of maps (B, K', h, w), or (1, K') of all tiles together."""
        by_scope = maps[:, None]
        if self.spec.scope == "batch":
            by_scope = maps[None]
        found = torch.empty(len(by_scope), maps.shape[1], dtype=torch.float64)
        for row, part in zip(found, by_scope.cpu().numpy(), strict=True):
            for place in range(part.shape[1]):
                row[place] = threshold_of(part[:, place], self.spec.threshold)
        return found.to(maps)
