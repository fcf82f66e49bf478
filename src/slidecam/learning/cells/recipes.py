"""What a recipe with a ``[graph]`` may say, and what it must."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.models.architectures import full_name

if TYPE_CHECKING:
    from slidecam.learning.recipes.tables import Recipe
    from slidecam.settings import Complaints

GRAPHS = frozenset({"slidecam/resnet18_gcn", "slidecam/cell_graph"})
"""Architectures that ``[graph]`` trains, and nothing else does."""

SIZES = ("nodes", "neighbours", "hidden", "dropout")
"""Arguments of theirs that the data and ``[graph]`` decide."""


def check_graph(recipe: Recipe, complaints: Complaints) -> None:
    """Note what does not go with a ``[graph]``, or with a graph's architecture without one."""
    is_graph = full_name(recipe.model.architecture) in GRAPHS
    if recipe.graph is None:
        if is_graph:
            remedy = "Write a [graph] table; an empty one takes the study's values."
            complaints.add(
                "[graph]",
                f"is missing, and {recipe.model.architecture} is a graph of cells",
                remedy,
            )
        return
    if not is_graph:
        remedy = f"Write one of {', '.join(sorted(GRAPHS))}, or leave [graph] out."
        complaints.add(
            "model.architecture", f'is "{recipe.model.architecture}", which has no graph', remedy
        )
    for name in ("augment", "features", "phase"):
        if name in recipe.table:
            remedy = "Leave it out: the embedder of a graph is not trained."
            complaints.add(f"[{name}]", "has no meaning beside [graph]", remedy)
    for key in recipe.table.get("train", {}):
        if key != "seed":
            complaints.add(
                f"train.{key}",
                "has no meaning beside [graph]",
                "Write it into [graph], or leave it out.",
            )
    for key in SIZES:
        if key in recipe.model.architecture_args:
            complaints.add(
                f"model.architecture_args.{key}",
                "is decided elsewhere",
                "Leave it out; see [graph].",
            )
