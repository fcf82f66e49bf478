"""Lays the package of someone else's on ``sys.path``, as pip would, and takes it away again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slidecam.cli.facts import REGISTRIES

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALLED = Path(__file__).parent / "installed"
PACKAGE = "slidecam_stripes"


@pytest.fixture(scope="module", autouse=True)
def _installed() -> Iterator[None]:
    """Install the package for a module of this folder, and for no other tests.

    A package's scope would last to the end: without ``__init__.py`` this folder is none.
    """
    sys.path.insert(0, str(INSTALLED))
    _look_again()
    yield
    sys.path.remove(str(INSTALLED))
    for name in [one for one in sys.modules if one.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    _look_again()


def _look_again() -> None:
    for _noun, registry in REGISTRIES:
        registry.look_again()
