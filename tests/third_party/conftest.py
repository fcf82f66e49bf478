"""Lays the package of someone else's on ``sys.path``, as pip would, and takes it away again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from slidecam.cli.checkup import REGISTRIES

if TYPE_CHECKING:
    from collections.abc import Iterator

INSTALLED = Path(__file__).parent / "installed"
PACKAGE = "slidecam_stripes"


@pytest.fixture(scope="package", autouse=True)
def _installed() -> Iterator[None]:
    """Install the package for the tests of this folder, and for no others."""
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
