"""What napari calls differently from 0.6.6 to 0.9, and the crash of two LLVMs: known here alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping


def camera(viewer: Any) -> Any:  # noqa: ANN401  (napari's models differ by version)
    """Return the viewer's camera."""
    scene = getattr(viewer, "scene", None)
    if scene is None:
        return viewer.camera
    return scene.camera


def scale_bar(viewer: Any) -> Any:  # noqa: ANN401
    """Return the viewer's scale bar."""
    canvas = getattr(viewer, "canvas", None)
    if canvas is None:
        return viewer.scale_bar
    return canvas.overlays.scale_bar


def canvas_size(viewer: Any) -> tuple[int, int]:  # noqa: ANN401
    """Return height and width of the canvas in screen pixels."""
    canvas = getattr(viewer, "canvas", None)
    height, width = viewer._canvas_size if canvas is None else canvas.size  # noqa: SLF001  (its name until 0.8)
    return int(height), int(width)


def resized(viewer: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Return what says that the canvas has another size; nothing until 0.8, which has no word."""
    canvas = getattr(viewer, "canvas", None)
    if canvas is None:
        return ()
    return (canvas.events.size,)


def show_scale_bar(viewer: Any, unit: str | None) -> None:  # noqa: ANN401
    """Show a scale bar.

    It takes its unit from the layers where napari knows theirs, and from here where not: None for
    pixels.
    """
    bar = scale_bar(viewer)
    bar.visible = True
    if getattr(viewer, "canvas", None) is None:
        bar.unit = unit


def later(call: Callable[[], object]) -> None:
    """Call something once the window is done with what it does; without a window, never."""
    core: Any = sys.modules.get("qtpy.QtCore")
    if core is not None and core.QCoreApplication.instance() is not None:
        core.QTimer.singleShot(0, call)


MAPS = Path("/proc/self/maps")
LLVM = "libLLVM"


def keep_triton_out(modules: MutableMapping[str, Any] = sys.modules, maps: Path = MAPS) -> bool:
    """Make triton unimportable where importing it would crash; return whether that was so.

    Mesa's software renderer (remote desktops, virtual machines, CI) brings libLLVM into the process
    as soon as napari draws. triton, which torchvision imports if it is there, brings another one
    whose symbols are bound to the first, and the process dies without a word. Nobody loses anything
    by it: where libLLVM is loaded and triton is not, triton cannot be used any more. Imported the
    other way round they get along.
    """
    if (
        "triton" in modules
        or not maps.exists()
        or LLVM not in maps.read_text(encoding="utf-8", errors="replace")
    ):
        return False
    modules["triton"] = None
    return True
