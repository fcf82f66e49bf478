"""Where the class is in each tile or picture that is measured: masks that somebody drew.

A picture's mask is found by the picture's path, since pictures of several classes or patients are
often numbered from 0 each. Masks that lie side by side go by the file's name alone, as long as no
two pictures share it.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from slidecam.errors import UsageError
from slidecam.foreground import load_foreground
from slidecam.geometry import Size
from slidecam.learning.data.picture_files import named, some

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SUFFIX = ".png"

LAID = (
    "Lay each mask into --masks at the path of its picture, with the suffix .png: class/0.png for"
    " class/0.jpg."
)


def picture_masks(
    folder: Path,
    names: Sequence[str],
    everything: Sequence[str],
    edge: int,
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    """Return the masks that lie in a folder under the pictures' names.

    Parameters
    ----------
    folder
        Of PNGs.
    names
        Paths of the pictures below their data's folder, with forward slashes.
    everything
        Those of all pictures there, chosen or not: what may share a mask's name.
    edge
        Of the masks that are returned, in pixels.

    Returns
    -------
    masks, notes
        bool, (N, edge, edge), empty where a picture has none; and sentences on what is missing.

    Raises
    ------
    UsageError
        If no picture has a mask, or two pictures would share one.
    MaskError
        If one cannot be read.
    """
    if not folder.is_dir():
        problem = f"masks of pictures lie in a folder, and this is a file: --masks {folder}."
        raise UsageError(problem, LAID)
    files = [_mask_of(folder, PurePosixPath(name)) for name in names]
    _refuse_shared(folder, set(filter(None, files)), everything)
    masks = np.zeros((len(names), edge, edge), np.bool_)
    y, x = np.mgrid[0:edge, 0:edge] + 0.5
    middles = np.stack([x.ravel(), y.ravel()], 1)
    missing: list[str] = []
    empty: list[str] = []
    for mask, name, file in zip(masks, names, files, strict=True):
        if file is None:
            missing.append(name)
            continue
        drawn = load_foreground(file, Size(edge, edge))
        mask[:] = drawn.contains(middles).reshape(edge, edge)
        if not mask.any():
            empty.append(name)
    if not masks.any():
        problem = f"{_none(missing, empty)}: --masks {folder}."
        raise UsageError(problem, LAID)
    return masks, _sentences(missing, empty, len(names))


def masks_of_slide(
    file: Path,
    name: str,
    drawn: Sequence[str],
    masks: NDArray[np.bool_],
) -> tuple[str, ...]:
    """Return what is to be said of a class's masks (N, H, W) in a slide's tiles.

    Raises
    ------
    UsageError
        If the class lies in none of them: nothing could be held against it.
    """
    with_any = int(masks.any((1, 2)).sum())
    if not with_any:
        problem = f"{name!r} was drawn in none of these {len(masks)} tiles: --masks {file}."
        known = f"Its areas are of {', '.join(drawn)}; choose tiles of them with --region or --at."
        raise UsageError(problem, known)
    if with_any == len(masks):
        return ()
    said = f"{name!r} was drawn in {with_any} of {len(masks)} tiles (--masks)"
    return (f"{said}: measures that need a mask are of these alone.",)


def _mask_of(folder: Path, name: PurePosixPath) -> Path | None:
    """Return the mask of a picture: at its path, or at the end of it; None where there is none.

    Folders are left out from the beginning, as masks may lack those of parts.
    """
    parts = name.with_suffix(SUFFIX).parts
    for start in range(len(parts)):
        file = folder.joinpath(*parts[start:])
        if file.is_file():
            return file
    return None


def _refuse_shared(folder: Path, files: set[Path], everything: Sequence[str]) -> None:
    """Refuse masks that are of several pictures by their names."""
    pictures: dict[Path, list[str]] = {}
    for name in everything:
        file = _mask_of(folder, PurePosixPath(name))
        if file in files:
            pictures.setdefault(file, []).append(name)
    for file, names in pictures.items():
        if len(names) > 1:
            problem = (
                f"several pictures would share the mask {named(file, folder)}: {some(names)}"
                f" (--masks {folder})."
            )
            raise UsageError(problem, LAID)


def _none(missing: Sequence[str], empty: Sequence[str]) -> str:
    if empty:
        return f"no picture has a mask that is not empty ({len(missing)} have none)"
    return f"there are no masks of these pictures ({len(missing)}): {some(missing)}"


def _sentences(missing: Sequence[str], empty: Sequence[str], total: int) -> tuple[str, ...]:
    said: list[str] = []
    for words, names in (("have no mask", missing), ("have an empty mask", empty)):
        if names:
            said.append(
                f"{len(names)} of {total} pictures {words}, and are in no measure that needs one"
                f" (--masks): {some(names)}."
            )
    return tuple(said)
