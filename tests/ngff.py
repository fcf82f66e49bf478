"""The oracle of OME-Zarr: ome-zarr-models, which knows the specification and none of our code."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

import zarr
from ome_zarr_models.v04.image import Image as Image04
from ome_zarr_models.v05.image import Image as Image05
from pydantic_zarr import v2, v3

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Their names of types are resolved late; pydantic finds them by itself up to 2.12 alone.
Image04.model_rebuild(force=True, _types_namespace={**vars(typing), **vars(v2)})
Image05.model_rebuild(force=True, _types_namespace={**vars(typing), **vars(v3)})


def multiscale_of(path: Path) -> Any:
    """Return the only multiscale image of a group.

    It fails if the metadata are not as NGFF wants them, or the arrays are not as these say.
    """
    group = zarr.open_group(path, mode="r")
    if "ome" in group.attrs:
        return _only(Image05.from_zarr(group).ome_attributes.multiscales)
    return _only(Image04.from_zarr(group).attributes.multiscales)


def _only(found: Sequence[Any]) -> Any:
    (one,) = found
    return one


def places_of(multiscale: Any) -> list[tuple[list[float], list[float]]]:
    """Return scale and translation of each level, zeros where it tells no translation."""
    places = []
    for dataset in multiscale.datasets:
        told = {one.type: one for one in dataset.coordinateTransformations}
        scale = list(told["scale"].scale)
        moved = [0.0] * len(scale)
        if "translation" in told:
            moved = list(told["translation"].translation)
        places.append((scale, moved))
    return places
