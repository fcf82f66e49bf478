"""What merely importing slidecam loads."""

from __future__ import annotations

import subprocess
import sys

import slidecam


def loaded_after(statement: str) -> set[str]:
    code = (
        f"import sys; {statement}; print(' '.join(name for name in sys.modules if '.' not in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  (our own interpreter)
    return set(done.stdout.split())


def test_importing_slidecam_loads_neither_torch_nor_qt() -> None:
    heavy = {"torch", "timm", "PyQt6", "PySide6", "qtpy", "napari", "zarr", "dask", "numpy"}
    assert not heavy & loaded_after("import slidecam")


def test_the_pixel_wing_loads_no_torch() -> None:
    rooms = (
        "slidecam.sources, slidecam.foreground, slidecam.tiling, slidecam.streaming,"
        " slidecam.store, slidecam.heatmap"
    )
    assert not {"torch", "timm"} & loaded_after(f"import {rooms}")


def test_help_loads_no_torch() -> None:
    assert not {"torch", "zarr", "dask", "numpy"} & loaded_after("import slidecam.cli")


def test_the_public_names_are_sorted_and_all_there() -> None:
    assert slidecam.__all__ == sorted(slidecam.__all__)
    assert set(slidecam.__all__) == set(slidecam._ROOMS)
    assert all(getattr(slidecam, name) is not None for name in slidecam.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(slidecam, "no_such_name")
