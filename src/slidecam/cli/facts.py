"""What `info`, `models`, `bundle` and `doctor` find: slides, bundles, and what is installed.

Which readers and devices work, and how to mend others.
"""

from __future__ import annotations

import os
import platform
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slidecam import models
from slidecam.errors import (
    RegionReadError,
    SourceError,
    SpacingError,
    UsageError,
    without_secrets,
)
from slidecam.explain.catalogue import CATALOGUE
from slidecam.extras import EXTRAS, absent, command_for, imported
from slidecam.models import Bundle, find_bundles
from slidecam.models.architectures import ARCHITECTURES
from slidecam.models.backends import BACKENDS
from slidecam.models.channels import IN_WORDS
from slidecam.registry import load
from slidecam.runs.outputs import OUTPUT_TABLE
from slidecam.sources import READERS, settle_spacing
from slidecam.sources.apart import open_apart
from slidecam.sources.discovery import LISTED, sample_folders
from slidecam.sources.volume import VolumeSource
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from slidecam.geometry import Level
    from slidecam.models import BundleSpec
    from slidecam.registry import Entry, Registry
    from slidecam.sources import Source, SourceFacts
    from slidecam.viewing import VolumeView

MODELS_VARIABLE = "SLIDECAM_MODELS"
"""Environment variable with folders of bundles, separated as in PATH."""

PACKAGES = ("slidecam", "torch", "timm", "zarr", "dask")
"""What nothing works without; what readers and methods need is said by their entries."""

REGISTRIES: tuple[tuple[str, Registry[Any]], ...] = (
    ("reader", READERS),
    ("method", CATALOGUE),
    ("architecture", ARCHITECTURES),
    ("backend", BACKENDS),
    ("output", OUTPUT_TABLE),
)
"""What other packages can add to, by the word for one entry."""


@dataclass(frozen=True)
class CheckResult:
    """One thing looked at; ``needed`` is whether slidecam is unusable without it."""

    what: str
    well: bool
    detail: str
    remedy: str = ""
    needed: bool = False

    def to_row(self) -> dict[str, Any]:
        """Return the finding as a row."""
        return {
            "check": self.what,
            "state": self._state(),
            "detail": self.detail,
            "remedy": self.remedy,
        }

    def _state(self) -> str:
        if self.well:
            return "ok"
        if self.needed:
            return "PROBLEM"
        return "absent"


def examine() -> list[CheckResult]:
    """Look at everything slidecam works with."""
    return [*_platform(), *_packages(), *_entries(), *_trials(), *_devices(), *_extras()]


def _platform() -> Iterator[CheckResult]:
    running = f"{platform.python_version()} on {platform.platform()}"
    yield CheckResult("python", well=True, detail=running)
    yield CheckResult("processors", well=True, detail=str(os.cpu_count()))


def _packages() -> Iterator[CheckResult]:
    for name in PACKAGES:
        yield _installed(name)


def _installed(name: str) -> CheckResult:
    try:
        return CheckResult(name, well=True, detail=version(name), needed=True)
    except PackageNotFoundError:
        remedy = f"pip install {name}"
        return CheckResult(name, well=False, detail="not installed", remedy=remedy, needed=True)


def _entries() -> Iterator[CheckResult]:
    """Try every entry; report readers, what other packages add, and what does not work."""
    for noun, registry in REGISTRIES:
        for entry in registry.values():
            own = entry in registry.own
            found = _tried(f"{noun} {entry.name}", entry, needed=own and not entry.extra)
            if not found.well or registry is READERS or not own or entry.check:
                yield found
        for lost in registry.broken:
            yield CheckResult(
                f"{noun} {lost.name}",
                well=False,
                detail=str(lost),
                remedy=f"Install {lost.package} again, or remove it.",
                needed=True,
            )


def _tried(what: str, entry: Entry, *, needed: bool) -> CheckResult:
    if entry.absent:
        remedy = command_for(entry.packages)
        detail = f"{', '.join(entry.absent)}: not installed"
        return CheckResult(what, well=False, detail=detail, remedy=remedy, needed=needed)
    remedy = ""
    if entry.packages:
        remedy = f"pip install --force-reinstall {' '.join(entry.packages)}"
    try:
        detail = load(entry.check)() if entry.check else _versions(entry)
    # What a library, or another package's own check, raises is not ours to know.
    except Exception as error:  # noqa: BLE001
        detail = str(error) or type(error).__name__
        return CheckResult(what, well=False, detail=detail, remedy=remedy, needed=needed)
    return CheckResult(what, well=True, detail=str(detail), needed=needed)


def _versions(entry: Entry) -> str:
    if not entry.packages:
        return entry.help
    return ", ".join(f"{package} {version(package)}" for package in entry.packages)


def _trials() -> Iterator[CheckResult]:
    """Report what trials of the backends have measured on this machine."""
    for trial in load("slidecam.models.trial:trials_here")():
        what = f"trial {trial.network}, {trial.precision}"
        yield CheckResult(what, well=True, detail=f"{trial.words}, {trial.date[:10]}")


def _devices() -> Iterator[CheckResult]:
    torch = import_module("torch")
    yield CheckResult(
        "device cpu", well=True, detail=f"{torch.get_num_threads()} threads", needed=True
    )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            name = torch.cuda.get_device_name(index)
            yield CheckResult(f"device cuda:{index}", well=True, detail=name)
        return
    built = torch.version.cuda
    detail = "torch was built without CUDA"
    if built:
        detail = f"torch has CUDA {built}, but no driver answers"
    remedy = "Without an NVIDIA GPU this is as it should be; with one, install its driver"
    yield CheckResult(
        "device cuda", well=False, detail=detail, remedy=f"{remedy} (see nvidia-smi)."
    )


def _extras() -> Iterator[CheckResult]:
    for name, extra in EXTRAS.items():
        missing = absent(extra.packages.values())
        detail, remedy = extra.help, ""
        if missing:
            detail += f"; not installed: {', '.join(missing)}"
            remedy = command_for(missing, name)
        yield CheckResult(f"extra {name}", well=not missing, detail=detail, remedy=remedy)


def describe_source(file: str, reader: str | None, view: VolumeView) -> dict[str, Any]:
    """Return the facts of a slide; a missing or unbelievable spacing is among them, not raised."""
    with open_apart(file, reader, view) as source:
        if isinstance(source, VolumeSource) and source.facts.planes == 1:
            with suppress(RegionReadError):  # reading it says so
                source.say_window()
        facts = source.facts
        return {
            "path": without_secrets(facts.path),
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
            "images": list(map(str, facts.images)),
            "notes": list(facts.readings),
        }


def unreadable_parts(
    file: str, reader: str | None, view: VolumeView
) -> Generator[Step, None, list[str]]:
    """Read all pixels of a slide, of each level and plane, and its other pictures; say what failed.

    A sentence for each reason, with the planes or levels of which something cannot be read.
    """
    lost: defaultdict[str, list[str]] = defaultdict(list)
    with open_apart(file, reader, view) as source:
        facts = source.facts
        parts = list(product(facts.levels, range(facts.planes)))
        for done, (level, plane) in enumerate(parts, 1):
            name = f"level {level.index}"
            if facts.stack is not None:
                name = f"slice {plane}"
            error = next(_failures(source, level, plane), None)
            if error is not None:
                lost[error.problem].append(name)
            yield Step("reading all of it", done, len(parts))
        for name in facts.associated:
            try:
                source.associated_image(name)
            except SourceError as error:
                lost[error.problem].append(name)
    said = [f"{_few(names).capitalize()}: {problem}" for problem, names in lost.items()]
    if isinstance(source, VolumeSource) and source.unplaced:
        said.append(f"Ends of the volume: {source.unplaced_words}.")
    return said


def _few(names: list[str]) -> str:
    listed = ", ".join(names[:LISTED])
    if len(names) <= LISTED:
        return listed
    return f"{listed} and {len(names) - LISTED} more"


def _failures(source: Source, level: Level, plane: int) -> Iterator[RegionReadError]:
    """Yield what reading a plane's level raised, block by block."""
    chunk = source.facts.chunk[level.index]
    for row in range(-(-level.size.height // chunk.height)):
        for column in range(-(-level.size.width // chunk.width)):
            try:
                source.read(level.index, source.chunk_box(level.index, row, column), plane=plane)
            except RegionReadError as error:
                yield error


def _volume_facts(facts: SourceFacts) -> dict[str, Any]:
    """Return where a volume's slices lie, along the axis that it is read along."""
    stack = facts.stack
    if stack is None:
        return {}
    orientations = imported("nibabel.orientations", "volumes")
    orientation = "".join(orientations.aff2axcodes(stack.grid.affine))
    if stack.grid.is_oblique:
        orientation += ", oblique"
    if stack.grid.leans:
        orientation += f", sheared by {stack.grid.shear:.1f} degrees"
    return {
        "voxels": list(stack.grid.shape),
        "slices": (
            f"{stack.shape[0]} {stack.axis}, {stack.positions[0]:.1f} to {stack.positions[-1]:.1f}"
            " mm (LPS+)"
        ),
        "spacing_mm": [round(step, 4) for step in stack.spacing_mm],
        "orientation": orientation,
        "missing_slices": list(stack.missing),
    }


def _spacing_facts(source: Source) -> dict[str, Any]:
    try:
        settled = settle_spacing(source.facts)
    except SpacingError as error:
        return {"spacing_um_px": None, "spacing_from": f"{error.problem} {error.remedy}"}
    return {
        "spacing_um_px": [settled.spacing.x, settled.spacing.y],
        "spacing_from": settled.origin,
    }


def describe_bundles(folders: list[Path]) -> list[dict[str, Any]]:
    """Return one row for each bundle found; of a broken one, what is wrong with it."""
    gone = [folder for folder in folders if not folder.is_dir()]
    if gone:
        raise UsageError(f"There is no folder {gone[0]}.", "Name folders that hold bundles.")
    measured_in_words = load("slidecam.reports.card_figures:measured_in_words")
    rows = []
    for found in find_bundles(folders or _usual_folders(), trust=False):
        if isinstance(found, Bundle):
            measured = measured_in_words(found.card)
            rows.append({**_bundle_facts(found), "measured": measured, "problem": ""})
        else:
            empty = dict.fromkeys(("classes", "tile", "channels", "licence"), "")
            rows.append(
                {
                    "name": "(unusable)",
                    **empty,
                    "path": found.path,
                    "measured": "",
                    "problem": str(found),
                }
            )
    return rows


def _bundle_facts(bundle: Bundle) -> dict[str, Any]:
    card = bundle.card
    few = 8
    names = list(card.class_names[:few])
    if len(card.class_names) > few:
        names.append("…")
    tile = "a whole picture"
    if card.spacing is not None:
        tile = f"{card.tile_px} px at {card.spacing:g} µm/px"
    return {
        "name": card.name,
        "classes": names,
        "tile": tile,
        "channels": IN_WORDS[card.channels],
        "licence": card.licence,
        "path": str(bundle.path),
    }


def _usual_folders() -> list[Path]:
    named = filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep))
    usual = [
        Path.cwd(),
        Path(typer.get_app_dir("slidecam")) / "models",
        *sample_folders(),
    ]
    return [folder for folder in [*map(Path, named), *usual] if folder.is_dir()]


def make_and_describe_bundle(spec: BundleSpec, out: Path) -> dict[str, Any]:
    """Make a bundle and return what it is."""
    bundle = models.make_bundle(spec, out)
    card = bundle.card
    facts: dict[str, object] = {
        "architecture": card.architecture,
        "activation": card.activation,
        "digest": bundle.digest,
    }
    for key in ("weights_prefix", "weights_left_out", "readings"):
        if key in card.provenance:
            facts[key] = card.provenance[key]
    return {**_bundle_facts(bundle), **facts}
