"""What ``pip install "slidecam[NAME]"`` brings beside what predicts slides, and how it is missed.

The base reads slides, classifies them and makes their heatmaps. What fewer people need comes by
extras: this is the one home of what each brings, and of the words where a package is missing. A
module of an extra is imported by `brought` or `imported`; what would find out late that it is
missing calls `need` first.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from slidecam.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Extra:
    """One extra.

    Attributes
    ----------
    help
        What it is for, for lists.
    packages
        The distributions that it brings, each by the module that is imported of it.
    undone
        What cannot be done without it, as a clause.
    """

    help: str
    packages: Mapping[str, str]
    undone: str


EXTRAS: Mapping[str, Extra] = MappingProxyType(
    {
        "volumes": Extra(
            "NIfTI, NRRD and MGZ volumes, and heatmaps on them",
            {"nibabel": "nibabel", "nrrd": "pynrrd"},
            "volumes cannot be read or written",
        ),
        "dicom": Extra(
            "DICOM: series of slices, and whole slides",
            {"pydicom": "pydicom", "gdcm": "python-gdcm", "nibabel": "nibabel"},
            "DICOM cannot be read",
        ),
        "explain": Extra(
            "LIME, occlusion, integrated gradients and more methods of explain",
            {
                "captum": "captum",
                "pytorch_grad_cam": "grad-cam",
                "sklearn": "scikit-learn",
                "torchvision": "torchvision",
            },
            "this explanation cannot be made",
        ),
        "train": Extra(
            "train, evaluate and fine-tune",
            {
                "sklearn": "scikit-learn",
                "imblearn": "imbalanced-learn",
                "torch_geometric": "torch_geometric",
            },
            "nothing can be trained or evaluated",
        ),
        "napari": Extra(
            "napari and slidecam's dock in it",
            {
                "napari": "napari",
                "magicgui": "magicgui",
                "pandas": "pandas",
                "psygnal": "psygnal",
                "qtpy": "qtpy",
            },
            "napari's dock cannot be opened",
        ),
        "server": Extra(
            "serve: the page, and QuPath's server",
            {"fastapi": "fastapi", "uvicorn": "uvicorn"},
            "nothing can be served",
        ),
        "cluster": Extra(
            "predict --cluster, by dask.distributed",
            {"distributed": "distributed", "yaml": "pyyaml"},
            "a cluster cannot be used",
        ),
        "remote": Extra(
            "slides, models and results at URLs: S3, HTTP",
            {"fsspec": "fsspec", "s3fs": "s3fs", "tiffslide": "tiffslide"},
            "this URL cannot be reached",
        ),
        "parquet": Extra(
            "tiles.parquet and slides.parquet",
            {"pyarrow": "pyarrow"},
            "Parquet cannot be written",
        ),
        "onnx": Extra(
            "export-onnx",
            {"onnx": "onnx", "onnxruntime": "onnxruntime", "onnxscript": "onnxscript"},
            "nothing can be exported to ONNX",
        ),
        "openvino": Extra(
            "--backend openvino: faster on a CPU",
            {"openvino": "openvino"},
            "OpenVINO cannot be used",
        ),
        "tensorboard": Extra(
            "train --tensorboard",
            {"tensorboard": "tensorboard"},
            "--tensorboard cannot write",
        ),
    }
)
"""Every extra for users by its name; of a package in several, the first is the one to name."""


def extra_with(packages: Iterable[str]) -> str:
    """Return the extra that brings one of some distributions; empty where none does."""
    wanted = set(packages)
    for name, extra in EXTRAS.items():
        if not wanted.isdisjoint(extra.packages.values()):
            return name
    return ""


def is_installed(package: str) -> bool:
    """Whether a distribution is installed; one of an extra, whether its module can be found."""
    module = _module_of(package)
    if module:
        return _is_found(module)
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _module_of(package: str) -> str:
    """Return what is imported of a distribution of an extra; empty for another one."""
    for extra in EXTRAS.values():
        for module, name in extra.packages.items():
            if name == package:
                return module
    return ""


def _is_found(module: str) -> bool:
    if module in sys.modules:
        return sys.modules[module] is not None
    try:
        return find_spec(module) is not None
    except ImportError:
        return False


def absent(packages: Iterable[str]) -> tuple[str, ...]:
    """Return those of some distributions that are not installed."""
    return tuple(name for name in packages if not is_installed(name))


def command_for(packages: Sequence[str], extra: str = "") -> str:
    """Return the command that installs an extra, or packages that no extra brings."""
    extra = extra or extra_with(packages)
    if extra:
        return f'pip install "slidecam[{extra}]"'
    return f"pip install {' '.join(packages)}"


def words_on_missing(
    undone: str, packages: Sequence[str], extra: str = "", otherwise: str = ""
) -> tuple[str, str]:
    """Return that packages are missing, as an error's problem and remedy.

    Parameters
    ----------
    undone
        What cannot be done, as a clause; the message begins with it.
    packages
        The distributions.
    extra
        What brings them; empty for the first extra that does.
    otherwise
        What else mends it: ``use another backend``; or nothing.
    """
    said = f"{packages[0]} is"
    if len(packages) > 1:
        said = f"{', '.join(packages[:-1])} and {packages[-1]} are"
    problem = f"{undone}: {said} not installed."
    remedy = f"Run `{command_for(packages, extra)}`"
    if otherwise:
        remedy += f", or {otherwise}"
    return problem, f"{remedy}."


def words_on_url(missing: str, otherwise: str = "") -> tuple[str, str]:
    """Return that a URL needs a package, which fsspec names, as an error's problem and remedy.

    ``otherwise`` is as in `words_on_missing`.
    """
    remedy = f"Run `{command_for((), 'remote')}`, which brings those of S3 and HTTP"
    if otherwise:
        remedy += f", or {otherwise}"
    return f"{EXTRAS['remote'].undone}: {missing.removesuffix('.')}.", f"{remedy}."


def need(
    extra: str,
    *packages: str,
    undone: str = "",
    otherwise: str = "",
    path: str | Path | None = None,
) -> None:
    """Refuse to begin where an extra is missing.

    Parameters
    ----------
    extra
        One of `EXTRAS`.
    packages
        Those distributions of it that are needed; none for all.
    undone, otherwise
        As in `words_on_missing`; ``undone`` is the extra's own where it is empty.
    path
        The file that it is about.

    Raises
    ------
    UsageError
        If one is not installed; the message has the command that installs it.
    """
    missing = absent(packages or EXTRAS[extra].packages.values())
    if missing:
        undone = undone or EXTRAS[extra].undone
        raise UsageError(*words_on_missing(undone, missing, extra, otherwise), path)


def imported(module: str, extra: str = "", undone: str = "") -> Any:  # noqa: ANN401  (a module)
    """Return a module that need not be installed, importing it now.

    Parameters
    ----------
    module
        Its name.
    extra
        What brings it; empty for what no extra brings, and is called as its module is.
    undone
        As in `need`.

    Raises
    ------
    UsageError
        If it is not installed. One that is, and cannot be imported, raises what it raises.
    """
    top = module.partition(".")[0]
    if not _is_found(top):
        package = top
        if extra:
            package = EXTRAS[extra].packages[top]
            undone = undone or EXTRAS[extra].undone
        raise UsageError(*words_on_missing(undone or "this cannot be done", (package,), extra))
    return import_module(module)


class _Brought(ModuleType):
    def __init__(self, name: str, extra: str) -> None:
        super().__init__(name)
        self._extra = extra

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (whatever the name stands for)
        return getattr(imported(self.__name__, self._extra), name)


def brought(module: str, extra: str) -> ModuleType:
    """Return a module of an extra that is imported when something of it is first used.

    UsageError then, where it is not installed.
    """
    return _Brought(module, extra)
