"""`slidecam doctor`: what is installed, which readers and devices work, and how to mend others."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from slidecam.explain.catalogue import CATALOGUE
from slidecam.models.architectures import ARCHITECTURES
from slidecam.models.backends import BACKENDS
from slidecam.registry import load
from slidecam.runs.outputs import OUTPUT_TABLE
from slidecam.sources import READERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slidecam.registry import Entry, Registry

EXTRAS = {
    "napari": "napari",
    "server": "fastapi",
    "train": "torch_geometric",
    "cluster": "distributed",
}
"""For each extra, a distribution that it brings."""

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
    return [*_platform(), *_packages(), *_entries(), *_devices(), *_extras()]


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
    """Try every entry; tell of readers, of what other packages add, and of what does not work."""
    for noun, registry in REGISTRIES:
        for entry in registry.values():
            own = entry in registry.own
            found = _tried(f"{noun} {entry.name}", entry, needed=own)
            if not found.well or registry is READERS or not own:
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
    packages = " ".join(entry.packages)
    remedy = f"pip install --force-reinstall {packages}" if packages else ""
    try:
        detail = load(entry.check)() if entry.check else _versions(entry)
    # What a library, or another package's own check, raises is not ours to know.
    except Exception as error:  # noqa: BLE001
        return CheckResult(what, well=False, detail=_words(error), remedy=remedy, needed=needed)
    return CheckResult(what, well=True, detail=str(detail), needed=needed)


def _words(error: Exception) -> str:
    if isinstance(error, PackageNotFoundError):
        return f"{error.name} is not installed"
    return str(error) or type(error).__name__


def _versions(entry: Entry) -> str:
    if not entry.packages:
        return entry.help
    return ", ".join(f"{package} {version(package)}" for package in entry.packages)


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
    for extra, package in EXTRAS.items():
        what = f"extra {extra}"
        try:
            yield CheckResult(what, well=True, detail=f"{package} {version(package)}")
        except PackageNotFoundError:
            remedy = f'pip install "slidecam[{extra}]"'
            yield CheckResult(what, well=False, detail="absent", remedy=remedy)
