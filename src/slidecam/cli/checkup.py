"""`slidecam doctor`: what is installed, which readers and devices work, and how to mend others."""

from __future__ import annotations

import os
import platform
import tempfile
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXTRAS = {
    "napari": "napari",
    "server": "fastapi",
    "train": "scikit-learn",
    "explain": "grad-cam",
    "cluster": "distributed",
}
"""For each extra, a distribution that it brings."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``needed`` is whether slidecam is unusable without it."""

    what: str
    well: bool
    detail: str
    remedy: str = ""
    needed: bool = False

    def told(self) -> dict[str, Any]:
        """Return the finding as a row."""
        state = "ok" if self.well else ("PROBLEM" if self.needed else "absent")
        return {"check": self.what, "state": state, "detail": self.detail, "remedy": self.remedy}


def examine() -> list[Finding]:
    """Look at everything slidecam works with."""
    return [*_platform(), *_packages(), *_readers(), *_devices(), *_extras()]


def _platform() -> Iterator[Finding]:
    yield Finding(
        "python", well=True, detail=f"{platform.python_version()} on {platform.platform()}"
    )
    yield Finding("processors", well=True, detail=str(os.cpu_count()))


def _packages() -> Iterator[Finding]:
    for name in ("slidecam", "torch", "timm", "zarr", "dask", "openslide-python", "tiffslide"):
        yield _installed(name)


def _installed(name: str) -> Finding:
    try:
        return Finding(name, well=True, detail=version(name), needed=True)
    except PackageNotFoundError:
        return Finding(
            name, well=False, detail="not installed", remedy=f"pip install {name}", needed=True
        )


def _readers() -> Iterator[Finding]:
    yield _tried(
        "reader openslide",
        _open_openslide,
        "pip install --force-reinstall openslide-python openslide-bin",
    )
    yield _tried(
        "reader tiffslide",
        lambda: _imported("tiffslide"),
        "pip install --force-reinstall tiffslide",
    )
    yield _tried(
        "reader tiff (JPEG 2000, LZW)",
        _decode_jpeg2000,
        "pip install --force-reinstall imagecodecs tifffile",
    )
    yield _tried("reader picture", _open_picture, "pip install --force-reinstall pillow")


def _tried(what: str, attempt: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(what, well=True, detail=attempt(), needed=True)
    except (ImportError, OSError, RuntimeError, ValueError, AttributeError) as error:
        return Finding(what, well=False, detail=str(error), remedy=remedy, needed=True)


def _open_openslide() -> str:
    openslide = import_module("openslide")
    return f"OpenSlide {openslide.__library_version__}"


def _imported(name: str) -> str:
    import_module(name)
    return version(name)


def _decode_jpeg2000() -> str:
    codecs = import_module("imagecodecs")
    picture = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    if not np.array_equal(codecs.jpeg2k_decode(codecs.jpeg2k_encode(picture, level=0)), picture):
        raise ValueError("JPEG 2000 comes back wrong")
    return f"imagecodecs {version('imagecodecs')}"


def _open_picture() -> str:
    from slidecam.geometry import LevelBox  # noqa: PLC0415  (the check's body)
    from slidecam.sources import open_source  # noqa: PLC0415

    image = import_module("PIL.Image")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.png"
        image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(path)
        with open_source(path) as source:
            if source.read(0, LevelBox(0, 0, 4, 4)).sum() != 7 * 48:
                raise ValueError("a PNG comes back wrong")
    return f"Pillow {version('pillow')}"


def _devices() -> Iterator[Finding]:
    torch = import_module("torch")
    yield Finding("device cpu", well=True, detail=f"{torch.get_num_threads()} threads", needed=True)
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            yield Finding(
                f"device cuda:{index}", well=True, detail=torch.cuda.get_device_name(index)
            )
        return
    built = torch.version.cuda
    detail = (
        f"torch has CUDA {built}, but no driver answers"
        if built
        else "torch was built without CUDA"
    )
    remedy = "Without an NVIDIA GPU this is as it should be; with one, install its driver"
    yield Finding("device cuda", well=False, detail=detail, remedy=f"{remedy} (see nvidia-smi).")


def _extras() -> Iterator[Finding]:
    for extra, package in EXTRAS.items():
        try:
            yield Finding(f"extra {extra}", well=True, detail=f"{package} {version(package)}")
        except PackageNotFoundError:
            yield Finding(
                f"extra {extra}",
                well=False,
                detail="absent",
                remedy=f'pip install "slidecam[{extra}]"',
            )
