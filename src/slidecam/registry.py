"""Registries: what slidecam knows by name, and what other packages add to it.

A registry is a mapping from names to frozen entries. Ours are written in a table; another package
adds its own by an entry point of the registry's group, whose name is the entry's::

    [project.entry-points."slidecam.readers"]
    czi = "slidecam_czi:READER"

where ``READER`` is such an entry. Entry points are looked for when a registry is first read, never
at import. One that cannot be loaded is no entry: it is named in words (`Registry.broken`, which
``slidecam doctor`` and the messages about unknown names show) and harms nothing else.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import entry_points, version
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from slidecam.errors import EntryFailedError, SlidecamError, UsageError
from slidecam.extras import absent, extra_with, words_on_missing

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

OWN = "slidecam itself"

_TORCH_MEMORY = "OutOfMemoryError"
"""What torch raises where a GPU's memory ran out: no MemoryError, and torch is not loaded here."""


@cache
def version_of(package: str) -> str:
    """Return the version of an installed distribution; reading it takes milliseconds, once.

    Raises
    ------
    importlib.metadata.PackageNotFoundError
        If it is not installed.
    """
    return version(package)


@dataclass(frozen=True)
class Entry:
    """What every registry tells of one of its members; each registry adds what it needs.

    Attributes
    ----------
    name
        What it is chosen by.
    help
        A few words on what it is, for ``--help`` and lists.
    packages
        The distributions that it needs, as ``pip`` knows them.
    check
        ``module:attribute`` of a function without arguments by which ``slidecam doctor`` tries
        whether it works here: it returns a detail, or raises. Empty where there is nothing to try.
    """

    name: str
    help: str = field(default="", kw_only=True)
    packages: tuple[str, ...] = field(default=(), kw_only=True)
    check: str = field(default="", kw_only=True)

    @property
    def extra(self) -> str:
        """The extra of slidecam that brings its packages; empty where none does."""
        return extra_with(self.packages)

    @property
    def absent(self) -> tuple[str, ...]:
        """The packages that it needs and that are not installed."""
        return absent(self.packages)

    @property
    def undone(self) -> str:
        """What cannot be done without its packages, as a clause."""
        return f"{type(self).__name__.lower()} {self.name} cannot be used"

    def words_on_absent(self, otherwise: str = "") -> tuple[str, str]:
        """Return the problem and the remedy of an error; see `words_on_missing`."""
        return words_on_missing(self.undone, self.absent, self.extra, otherwise)

    def refuse_absent(self, otherwise: str = "", path: str | None = None) -> None:
        """Refuse to work where a package of it is not installed; UsageError about ``path``."""
        if self.absent:
            raise UsageError(*self.words_on_absent(otherwise), path)


@dataclass(frozen=True)
class BrokenEntry:
    """An entry point that gave no entry.

    Attributes
    ----------
    group, name
        As in the other package's metadata.
    package
        The package and its version.
    problem
        Why, as a clause.
    """

    group: str
    name: str
    package: str
    problem: str

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"{self.group} {self.name!r} of {self.package} is left out: {self.problem}."


E = TypeVar("E", bound=Entry)


class Registry(Mapping[str, E], Generic[E]):
    """Entries by name: ours in the order of their table, then other packages' by name.

    Parameters
    ----------
    group
        The group of entry points that adds to it, ``slidecam.readers``.
    kind
        The class of its entries.
    own
        Our entries.

    Raises
    ------
    ValueError
        If two of our own entries share a name.
    """

    def __init__(self, group: str, kind: type[E], own: Iterable[E]) -> None:
        self.group = group
        self.kind = kind
        self.own = tuple(own)
        twice = _repeated(entry.name for entry in self.own)
        if twice:
            raise ValueError(f"{group}: the name {twice[0]!r} is given twice.")

    def __getitem__(self, name: str) -> E:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def added(self) -> tuple[E, ...]:
        """The entries that other packages add."""
        return tuple(self.values())[len(self.own) :]

    @property
    def broken(self) -> tuple[BrokenEntry, ...]:
        """The entry points that gave no entry, each with the reason."""
        return self._found[1]

    def remedy(self, name: str) -> str:
        """Return what one can do about ``name``, which is not there: near names, or all."""
        lost = [str(one) for one in self.broken if one.name == name]
        near = difflib.get_close_matches(name, self, n=1)
        hints = [f"Did you mean {one}?" for one in near]
        return " ".join([*lost, *hints, f"Use one of {', '.join(self)}."])

    @contextmanager
    def boundary(
        self,
        name: str,
        failed: Callable[[str, str], SlidecamError] = EntryFailedError,
    ) -> Iterator[None]:
        """Turn what the code of an entry raises into an error of slidecam's, its cause kept.

        What slidecam raises on purpose passes, and so does that memory ran out.

        Parameters
        ----------
        name
            The entry's.
        failed
            Returns the error, given what is wrong and what to do about it.
        """
        try:
            yield
        except (SlidecamError, MemoryError):
            raise
        # Another package's code may raise anything, and so may the libraries behind ours.
        except Exception as error:
            if type(error).__name__ == _TORCH_MEMORY:
                raise
            raise failed(self.blame(name, error), self._report(name)) from error

    def blame(self, name: str, error: Exception) -> str:
        """Return in words that the code of an entry raised an error."""
        noun = self.group.removeprefix("slidecam.").removesuffix("s")
        said = ": ".join(filter(None, (type(error).__name__, str(error))))
        return f"{noun} {name} of {self._packages.get(name, OWN)} raised {said}."

    def _report(self, name: str) -> str:
        package = self._packages.get(name)
        if package is None:
            return "slidecam did not foresee this; please report it."
        return f"Report it to those who make {package}; do without {name} until then."

    @cached_property
    def _packages(self) -> dict[str, str]:
        """The packages of the entries that others add, by the entries' names."""
        points = entry_points(group=self.group)
        names = {entry.name for entry in self.added}
        return {point.name: _package(point) for point in points if point.name in names}

    def look_again(self) -> None:
        """Forget what other packages add, so that it is looked for anew."""
        for name in ("_found", "_entries", "_packages"):
            self.__dict__.pop(name, None)

    @cached_property
    def _entries(self) -> dict[str, E]:
        return {entry.name: entry for entry in (*self.own, *self._found[0])}

    @cached_property
    def _found(self) -> tuple[tuple[E, ...], tuple[BrokenEntry, ...]]:
        points = sorted(entry_points(group=self.group), key=_order)
        taken = dict.fromkeys((entry.name for entry in self.own), OWN)
        twice = _repeated(point.name for point in points)
        added: list[E] = []
        broken: list[BrokenEntry] = []
        for point in points:
            found = self._refusal(point, taken, twice) or self._loaded(point)
            if isinstance(found, str):
                broken.append(BrokenEntry(self.group, point.name, _package(point), found))
            else:
                added.append(found)
        return tuple(added), tuple(broken)

    def _refusal(
        self,
        point: EntryPoint,
        taken: Mapping[str, str],
        twice: Iterable[str],
    ) -> str | None:
        """Return for what reason a name may not be used, or None.

        Where two packages claim one name, neither has it: which one was meant nobody can tell.
        """
        if point.name in taken:
            return f"the name is taken by {taken[point.name]}"
        if point.name in twice:
            return "several packages claim this name"
        return None

    def _loaded(self, point: EntryPoint) -> E | str:
        """Return the entry, or the reason for there being none."""
        try:
            entry = point.load()
        # Another package's import may raise anything; it must not take ours with it.
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {error}"
        if not isinstance(entry, self.kind):
            return f"{point.value} is no {self.kind.__module__}.{self.kind.__name__}"
        if entry.name != point.name:
            return f"{point.value} calls itself {entry.name!r}"
        return entry


def load(address: str) -> Any:  # noqa: ANN401  (whatever lies there)
    """Return what lies at ``module:attribute``, importing the module only now."""
    module, _, attribute = address.partition(":")
    return getattr(import_module(module), attribute)


class _Deferred(ModuleType):
    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (whatever the name stands for)
        return getattr(import_module(self.__name__), name)


def deferred(name: str) -> ModuleType:
    """Return a module that is imported when something of it is first used.

    For what takes seconds to load (torch, timm), where most callers need none of it.
    """
    return _Deferred(name)


def looked_up(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a package's ``__getattr__``, by which a name is imported when it is first used.

    ``homes`` names the module of each, within the package. What is loaded with one name (torch)
    is not paid for by who needs another.
    """

    def find(name: str) -> Any:  # noqa: ANN401  (whatever the name stands for)
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return find


def resolve(given: Any) -> Any:  # noqa: ANN401  (whatever lies there)
    """Return what an entry's field means: what lies at an address, or the thing itself."""
    if isinstance(given, str):
        return load(given)
    return given


def _order(point: EntryPoint) -> tuple[str, str]:
    return point.name, _package(point)


def _package(point: EntryPoint) -> str:
    if point.dist is None:
        return "an unnamed package"
    return f"{point.dist.name} {point.dist.version}"


def _repeated(names: Iterable[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]
