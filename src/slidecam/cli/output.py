"""What `info`, `models` and `bundle` print, and how the command line's texts are read."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from nibabel.orientations import aff2axcodes

from slidecam.classes import listed_names, normal_name
from slidecam.errors import SpacingError, UsageError
from slidecam.explain.facts import Spread, facts_in_words
from slidecam.geometry import Size
from slidecam.models import Bundle, find_bundles, make_bundle
from slidecam.options import EVERY_METHOD
from slidecam.settings import NotTakenError, from_text, words_of
from slidecam.sources import open_source, settle_spacing
from slidecam.sources.discovery import sample_folders

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from slidecam.close_up.findings import CloseUp
    from slidecam.models import BundleSpec
    from slidecam.settings import Hint
    from slidecam.sources import Source, SourceFacts

Pair = tuple[float, float]
Three = tuple[float, float, float]

MODELS_VARIABLE = "SLIDECAM_MODELS"
"""Environment variable with folders of bundles, separated as in PATH."""


def describe_source(file: str, reader: str | None) -> dict[str, Any]:
    """Return the facts of a slide; a missing or unbelievable spacing is among them, not raised."""
    with open_source(file, reader) as source:
        facts = source.facts
        return {
            "path": facts.path,
            "reader": facts.reader,
            "format": facts.format,
            "size_px": [facts.size.width, facts.size.height],
            **_spacing_facts(source),
            "levels": [
                f"{level.size.width}x{level.size.height} (1/{level.downsample:g})"
                for level in facts.levels
            ],
            "bounds": None if facts.bounds is None else str(facts.bounds),
            "associated_images": list(facts.associated),
            "fingerprint": facts.fingerprint,
            **_volume_facts(facts),
            "notes": list(facts.notes),
        }


def _volume_facts(facts: SourceFacts) -> dict[str, Any]:
    """Return where a volume's slices lie; axial ones unless predict is told otherwise."""
    stack = facts.stack
    if stack is None:
        return {}
    return {
        "voxels": list(stack.grid.shape),
        "slices": (
            f"{stack.shape[0]} {stack.axis}, {stack.positions[0]:.1f} to {stack.positions[-1]:.1f}"
            " mm (LPS+)"
        ),
        "spacing_mm": [round(step, 4) for step in stack.spacing_mm],
        "orientation": (
            "".join(aff2axcodes(stack.grid.affine)) + (", oblique" if stack.grid.is_oblique else "")
        ),
        "missing_slices": list(stack.missing),
    }


def _spacing_facts(source: Source) -> dict[str, Any]:
    try:
        settled = settle_spacing(source.facts)
    except SpacingError as error:
        return {"spacing_um_px": None, "spacing_from": f"{error.problem} {error.remedy}"}
    return {"spacing_um_px": [settled.spacing.x, settled.spacing.y], "spacing_from": settled.origin}


def describe_bundles(folders: list[Path]) -> list[dict[str, Any]]:
    """Return one row for each bundle found; a broken one tells what is wrong with it."""
    gone = [folder for folder in folders if not folder.is_dir()]
    if gone:
        raise UsageError(f"{gone[0]} is not a folder.", "Name folders that hold bundles.")
    rows = []
    for found in find_bundles(folders or _usual_folders(), trust=False):
        if isinstance(found, Bundle):
            rows.append({**_bundle_facts(found), "problem": ""})
        else:
            empty = dict.fromkeys(("classes", "tile", "licence"), "")
            rows.append({"name": "(unusable)", **empty, "path": found.path, "problem": str(found)})
    return rows


def _bundle_facts(bundle: Bundle) -> dict[str, Any]:
    card = bundle.card
    few = 8
    names = [*card.class_names[:few], *(["…"] if len(card.class_names) > few else [])]
    return {
        "name": card.name,
        "classes": names,
        "tile": (
            "a whole picture"
            if card.spacing is None
            else f"{card.tile_px} px at {card.spacing:g} µm/px"
        ),
        "licence": card.licence,
        "path": str(bundle.path),
    }


def _usual_folders() -> list[Path]:
    named = [Path(part) for part in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if part]
    usual = [Path.cwd(), Path(typer.get_app_dir("slidecam")) / "models", *sample_folders()]
    return [folder for folder in [*named, *usual] if folder.is_dir()]


def make_and_describe_bundle(spec: BundleSpec, out: Path) -> dict[str, Any]:
    """Make a bundle and return what it is."""
    bundle = make_bundle(spec, out)
    card = bundle.card
    facts = {
        "architecture": card.architecture,
        "activation": card.activation,
        "digest": bundle.digest,
    }
    return {**_bundle_facts(bundle), **facts}


def class_names(text: str) -> tuple[str, ...]:
    """Return the names in ``A,B,C``, or in the lines of the file named after ``@``.

    A name with a comma stands in quotes (see `listed_names`), or on a line of the file.
    """
    if not text.startswith("@"):
        return listed_names(text)
    path = Path(text[1:])
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--classes {text}: {error}.", "Name a text file with one class per line."
        ) from error
    return tuple(normal_name(line.strip()) for line in lines if line.strip())


def places(texts: list[str]) -> tuple[tuple[float, float], ...]:
    """Return places written as ``X,Y``, level-0 pixels; UsageError if one is not."""
    return tuple(_read("--at", text, Pair, "12000,8000") for text in texts)


def three_numbers(option: str, text: str | None) -> tuple[float, float, float] | None:
    """Return the numbers in ``R,G,B``, or None where nothing was said."""
    return None if text is None else _read(option, text, Three, "0.5,0.5,0.5")


def heatmap_scales(texts: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """Return the scales in ``[METHOD=]LOW,HIGH`` texts by method.

    One without a name is every method's.
    """
    scales: dict[str, tuple[float, float]] = {}
    for text in texts:
        method, _equals, numbers = text.rpartition("=")
        low_high = _read("--heatmap-scale", numbers, Pair, "0,5 or cam=-5,5")
        scales[method.strip().lower() or EVERY_METHOD] = low_high
    return scales


def _read(option: str, text: str, kind: Hint, example: str) -> Any:  # noqa: ANN401  (of that kind)
    try:
        return from_text(text, kind)
    except NotTakenError as error:
        raise UsageError(
            f"{option} {text!r} is not {words_of(kind)}.", f"Pass {option} {example}."
        ) from error


def architecture_arguments(pairs: tuple[str, ...]) -> dict[str, object]:
    """Return what ``KEY=VALUE`` pairs mean; values are JSON where they can be, else text."""
    arguments: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            problem = f"--arch-arg {pair!r} is not KEY=VALUE."
            raise UsageError(problem, "Pass --arch-arg pad_type=same.")
        try:
            arguments[key] = json.loads(value)
        except json.JSONDecodeError:
            arguments[key] = value
    return arguments


def size_shown(text: str | None) -> Size | None:
    """Return the size in ``WIDTHxHEIGHT``, or None where nothing was said."""
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,9})x([1-9]\d{0,9})", text.strip().lower())
    if match is None:
        raise UsageError(f"--shown {text!r} is no size.", "Pass --shown 40000x30000, in pixels.")
    return Size(int(match[1]), int(match[2]))


def spreads_in_words(looked: Mapping[str, CloseUp]) -> Iterator[str]:
    """Yield a line for each method, of each model by name, whose facts differ from tile to tile."""
    for model, found in looked.items():
        for method, facts in found.method_facts().items():
            spreads = {name: each for name, each in facts.items() if isinstance(each, Spread)}
            if spreads:
                told = f"{model}: {method}" if model else method
                yield f"{told}, of {len(found.tiles)} tiles: {facts_in_words(spreads)}"
