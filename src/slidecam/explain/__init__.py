"""Explanations of a classifier's logits, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import Tensor

from slidecam.errors import ExplanationError
from slidecam.explain.activation_maps import grad_cam_pp
from slidecam.models import ClassifierPass

Explainer = Callable[[ClassifierPass, Sequence[int]], Tensor]
"""Given a pass with gradients and K' class indices, returns raw maps (B, K', h, w), float32, at least 0."""

EXPLAINERS: Mapping[str, Explainer] = MappingProxyType({"gradcam++": grad_cam_pp})
"""Every method by the name that ``--heatmap`` knows it by."""


def explainer_for(name: str) -> Explainer:
    """Return the method called ``name``; ExplanationError, listing the names, if there is none."""
    if name not in EXPLAINERS:
        raise ExplanationError(f"there is no explanation called {name!r}.", f"Use one of {', '.join(EXPLAINERS)}.")
    return EXPLAINERS[name]


__all__ = ["EXPLAINERS", "Explainer", "explainer_for", "grad_cam_pp"]
