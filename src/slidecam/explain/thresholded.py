"""DT Grad-CAM: Grad-CAM kept only at or above a threshold, which is found from the map itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import torch

from slidecam.errors import ExplanationError
from slidecam.explain.activation_maps import cheap_map
from slidecam.explain.explainer import Explainer
from slidecam.explain.map_methods import MapExplainer
from slidecam.thresholds import Threshold, threshold_of

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from torch import Tensor

    from slidecam.explain.explainer import Explanation
    from slidecam.models import Classifier
    from slidecam.steps import Step

Scope = Literal["tile", "batch"]
NAME = "dt-gradcam"


@dataclass(frozen=True)
class DtGradCamSpec:
    """Settings of DT Grad-CAM.

    Attributes
    ----------
    threshold
        The rule by which the threshold is found.
    scope
        Over what: every tile has a threshold of its own, or all tiles that are given together have
        one for each class. A whole slide's is found when its heatmap is painted.
    """

    threshold: Threshold = field(default_factory=Threshold)
    scope: Scope = "tile"


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
            raise ExplanationError(
                f"DT Grad-CAM has no scope {spec.scope!r}.", f"Use {' or '.join(get_args(Scope))}."
            )
        self.spec = spec
        grad_cam = replace(cheap_map("gradcam"), title="DT Grad-CAM")
        self.grad_cam = MapExplainer(classifier, NAME, grad_cam)

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
        if self.spec.scope == "batch":
            by_scope = maps[None]
        else:
            by_scope = maps[:, None]
        found = [
            [threshold_of(one.cpu().numpy(), self.spec.threshold) for one in part.unbind(1)]
            for part in by_scope
        ]
        return torch.tensor(found, dtype=maps.dtype, device=maps.device)
