"""Registries are open to other packages, and closed to their faults."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from slidecam.explain.catalogue import CATALOGUE
from slidecam.models.architectures import ARCHITECTURES
from slidecam.models.backends import BACKENDS
from slidecam.registry import Entry, Registry, load
from slidecam.runs.outputs import OUTPUT_TABLE
from slidecam.sources import READERS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Install = Callable[..., None]

GROUP = "slidecam.test_things"


@dataclass(frozen=True)
class Thing(Entry):
    size: int = 1


OURS = (Thing("small", 2), Thing("large", 9))


def things() -> Registry[Thing]:
    return Registry(GROUP, Thing, OURS)


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lay packages on ``sys.path`` as pip would: a module, and metadata beside it."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def package(name: str, source: str, **points: str) -> None:
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
        folder = tmp_path / f"{name}-1.5.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n", encoding="utf-8"
        )
        lines = [f"{point} = {value}" for point, value in points.items()]
        (folder / "entry_points.txt").write_text(
            "\n".join([f"[{GROUP}]", *lines]), encoding="utf-8"
        )
        monkeypatch.delitem(sys.modules, name, raising=False)

    return package


def entry(name: str, size: int = 5) -> str:
    return f"from registry_things import Thing\nTHING = Thing({name!r}, {size})\n"


@pytest.fixture(autouse=True)
def _things_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "registry_things", sys.modules[__name__])


def test_ours_are_looked_up_by_name_in_the_order_of_their_table() -> None:
    registry = things()
    assert list(registry) == ["small", "large"]
    assert registry["large"].size == 9
    assert registry.added == ()
    assert registry.broken == ()


def test_another_package_adds_an_entry_after_ours(install: Install) -> None:
    install("pkg_a", entry("atom"), atom="pkg_a:THING")
    registry = things()
    assert list(registry) == ["small", "large", "atom"]
    assert [one.size for one in registry.added] == [5]


def test_nothing_is_loaded_before_the_registry_is_read(install: Install) -> None:
    install("pkg_b", entry("bee"), bee="pkg_b:THING")
    registry = things()
    assert "pkg_b" not in sys.modules
    assert "bee" in registry
    assert "pkg_b" in sys.modules


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("raise RuntimeError('no driver')", "RuntimeError: no driver"),
        ("import no_such_module_at_all", "ModuleNotFoundError: No module named"),
        ("", "AttributeError: module 'pkg_c' has no attribute 'THING'"),
        ("THING = 7", "pkg_c:THING is no registry_things.Thing"),
        (entry("other"), "pkg_c:THING calls itself 'other'"),
    ],
)
def test_a_broken_entry_point_is_told_in_words_and_harms_no_other(
    install: Install, source: str, problem: str
) -> None:
    install("pkg_c", source, c="pkg_c:THING")
    install("pkg_d", entry("d"), d="pkg_d:THING")
    registry = things()
    assert list(registry) == ["small", "large", "d"]
    (broken,) = registry.broken
    assert str(broken).startswith(f"{GROUP} 'c' of pkg_c 1.5 is left out: ")
    assert problem.replace("registry_things", __name__) in str(broken)
    assert str(broken) in registry.remedy("c")


def test_our_names_are_taken(install: Install) -> None:
    install("pkg_e", entry("small", 77), small="pkg_e:THING")
    registry = things()
    assert registry["small"].size == 2
    assert "the name is taken by slidecam itself" in str(registry.broken[0])


def test_a_name_that_two_packages_claim_is_neithers(install: Install) -> None:
    install("pkg_f", entry("same"), same="pkg_f:THING")
    install("pkg_g", entry("same"), same="pkg_g:THING")
    registry = things()
    assert "same" not in registry
    assert [one.package for one in registry.broken] == ["pkg_f 1.5", "pkg_g 1.5"]
    assert "several packages claim this name" in registry.remedy("same")


def test_two_of_ours_may_not_share_a_name() -> None:
    with pytest.raises(ValueError, match="'small' is given twice"):
        Registry(GROUP, Thing, (*OURS, Thing("small")))


def test_an_unknown_name_brings_the_nearest_and_all() -> None:
    assert things().remedy("smal") == "Did you mean small? Use one of small, large."
    assert things().remedy("?") == "Use one of small, large."


def test_what_is_installed_later_is_found_when_looked_for_again(install: Install) -> None:
    registry = things()
    assert "late" not in registry
    install("pkg_h", entry("late"), late="pkg_h:THING")
    registry.look_again()
    assert "late" in registry


def test_an_address_is_imported_when_it_is_loaded() -> None:
    assert load("math:hypot")(3, 4) == 5


@pytest.mark.parametrize(
    "entry",
    [*READERS.own, *CATALOGUE.own, *ARCHITECTURES.own, *BACKENDS.own, *OUTPUT_TABLE.own],
    ids=lambda entry: entry.name,
)
def test_every_address_in_our_tables_leads_somewhere(entry: Entry) -> None:
    found = [value for value in vars(entry).values() if isinstance(value, str) and ":" in value]
    for address in found:
        assert callable(load(address))
    assert found


@pytest.mark.parametrize("registry", [READERS, CATALOGUE, ARCHITECTURES, BACKENDS, OUTPUT_TABLE])
def test_nothing_that_is_installed_here_breaks_a_registry(registry: Registry[Entry]) -> None:
    assert registry.broken == ()
