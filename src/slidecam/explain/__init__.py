"""Explanations of a classifier's logits.

Cheap maps for whole slides here, every method by name in `catalogue`.

The catalogue is not imported here: it loads the libraries that some methods use.
"""

from slidecam.explain.activation_maps import CHEAP, CheapMap, MapPlan, plan_maps
from slidecam.explain.explainer import Explainer, Explanation, Method

__all__ = ["CHEAP", "CheapMap", "Explainer", "Explanation", "MapPlan", "Method", "plan_maps"]
