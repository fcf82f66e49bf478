"""Every explanation that there is, by name: each module's ``METHODS``, joined.

To add a method, write a module with an `Explainer`, its settings dataclass and a tuple ``METHODS``,
and name the tuple here.
"""

from __future__ import annotations

import difflib
from types import MappingProxyType
from typing import TYPE_CHECKING

from slidecam.errors import ExplanationError
from slidecam.explain import (
    ablation_cam,
    attributions,
    full_grad,
    library_cams,
    lime,
    map_methods,
    partition_shap,
    score_cam,
    score_cam_clusters,
    thresholded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from slidecam.explain.explainer import Method

METHODS: tuple[Method, ...] = (
    *map_methods.METHODS,
    *thresholded.METHODS,
    *library_cams.METHODS,
    *ablation_cam.METHODS,
    *full_grad.METHODS,
    *score_cam_clusters.METHODS,
    *score_cam.METHODS,
    *attributions.METHODS,
    *lime.METHODS,
    *partition_shap.METHODS,
)
"""In the order in which they are listed to people: the cheap ones first."""

CATALOGUE: Mapping[str, Method] = MappingProxyType({method.name: method for method in METHODS})
"""Every method by the name that ``--methods`` knows it by."""


def method_for(name: str) -> Method:
    """Return the method called ``name``; ExplanationError, listing the names, if there is none."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    raise ExplanationError(
        f"there is no explanation called {name!r}.", f"{hint}Use one of {', '.join(CATALOGUE)}."
    )
