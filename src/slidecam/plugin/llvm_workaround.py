"""Two copies of LLVM in one process crash it: this keeps the second one out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import MutableMapping

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
