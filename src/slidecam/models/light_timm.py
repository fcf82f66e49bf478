"""timm, imported without torch's compiler.

torchvision, which timm stands on, and some of timm's networks mention the compiler when they are
imported, and almost nobody who runs a network calls it; loading it takes longer than all of timm.
What they mention is given to them as a promise here, kept when it is first called. Whoever takes
timm from this module has it so; where timm or the compiler is loaded already, nothing is done.
"""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager, suppress
from functools import partial, wraps
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COMPILER, _ITS_TOOLS = "torch._dynamo", "torch._dynamo.utils"
_OF_THE_TOOLS = "is_compile_supported"
"""All that torchvision takes from them, for one of its operations."""


@contextmanager
def _without_compiler() -> Iterator[None]:
    """Let others be imported inside without loading the compiler with them."""
    if {_COMPILER, "timm"} & sys.modules.keys() or not hasattr(torch.compiler, "disable"):
        yield
        return
    with ExitStack() as undo:
        _let_torchvision_be_imported()
        undo.callback(setattr, torch.compiler, "disable", torch.compiler.disable)
        disable: Any = partial(_disabled_later, torch.compiler.disable)
        torch.compiler.disable = disable
        yield


def _let_torchvision_be_imported() -> None:
    tools: Any = ModuleType(_ITS_TOOLS)

    def is_compile_supported(device_type: str) -> bool:
        return bool(getattr(import_module(_ITS_TOOLS), _OF_THE_TOOLS)(device_type))

    tools.is_compile_supported = is_compile_supported
    sys.modules[_ITS_TOOLS] = tools
    try:
        # Of a version that takes more of them than this: it is imported again, by timm.
        with suppress(ImportError, AttributeError):
            import_module("torchvision")
    finally:
        sys.modules.pop(_ITS_TOOLS, None)


def _disabled_later(
    disable: Callable[..., Callable[..., Any]],
    function: Callable[..., Any] | None = None,
    recursive: bool = True,  # noqa: FBT001, FBT002  (torch's own signature)
    **said: Any,  # noqa: ANN401  (as above)
) -> Callable[..., Any]:
    """Return what `torch.compiler.disable` does, which makes it at the first call."""
    if function is None:
        return partial(_disabled_later, disable, recursive=recursive, **said)
    made: list[Callable[..., Any]] = []

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  (whatever the function takes)
        if not made:
            made.append(disable(function, recursive, **said))
        return made[0](*args, **kwargs)

    return call


with _without_compiler():
    import timm
    from timm.layers.conv2d_same import Conv2dSame
    from timm.layers.norm_act import BatchNormAct2d

__all__ = ["BatchNormAct2d", "Conv2dSame", "timm"]
