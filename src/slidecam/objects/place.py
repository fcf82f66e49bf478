"""Files in object stores and behind other URLs, through fsspec: listed, fetched, put, removed.

Credentials are the ecosystem's: what fsspec's back ends find in the environment and in their own
files. None of them is read here, and no message holds one. What a server answers badly is tried
again.
"""

from __future__ import annotations

import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from traceback import TracebackException
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

from slidecam.errors import StoreError, UsageError, without_secrets
from slidecam.extras import imported, words_on_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Answer = TypeVar("Answer")

TRIES = 3
"""How often a server is called that answers badly."""

FIRST_WAIT = 0.2
"""Seconds before it is called again; twice as many each further time."""

AT_ONCE = 8
"""Files that are on their way at a time."""

_MANGLED = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):[\\/]+(?=[^\\/])")
"""A URL as pathlib leaves it: of ``s3://bucket`` it makes ``s3:/bucket``, a folder here.

A drive of Windows has one letter.
"""

_REMOTE = {
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "aiohttp": ("ClientError",),
    "ftplib": ("Error",),
    "google.auth.exceptions": ("GoogleAuthError",),
    "azure.core.exceptions": ("AzureError",),
}

_CHANGING = ("ETag", "etag", "content_md5", "size", "LastModified", "mtime", "created")
"""What back ends say of a file that changes with its content."""

_FINAL = (FileNotFoundError, FileExistsError, IsADirectoryError)
"""Answers that another call would not change."""


def remote_errors() -> tuple[type[Exception], ...]:
    """Return the errors of those back ends of fsspec that are loaded; they share no base class."""
    errors: list[type[Exception]] = []
    for module, names in _REMOTE.items():
        if module in sys.modules:
            errors.extend(getattr(sys.modules[module], name) for name in names)
    return tuple(errors)


def bad_answers() -> tuple[type[Exception], ...]:
    """Return the errors of a server that answers badly, or of a back end on its behalf."""
    return (OSError, ValueError, RuntimeError, *remote_errors())


def is_url(given: str | Path) -> bool:
    """Whether a text names something that lies on no drive of this machine."""
    text = str(given)
    return "://" in text and not text.startswith("file:")


def url_of(path: Path) -> str | None:
    """Return the URL that a path was made of; None where it was a path."""
    found = _MANGLED.match(str(path))
    if not found:
        return None
    return f"{found[1]}://{str(path)[found.end() :]}".replace("\\", "/")


def as_given(given: str | Path) -> str:
    """Return a path or URL as it was written, also where pathlib has made one slash of two."""
    if isinstance(given, Path):
        return url_of(given) or str(given)
    return given


def from_everywhere(given: str | Path) -> str:
    """Return a URL, or a path that means the same in every working folder."""
    text = as_given(given)
    if "://" in text or not text:
        return text
    return str(Path(text).absolute())


@dataclass(frozen=True)
class Location:
    """A file or folder at a URL.

    Attributes
    ----------
    url
        Of it; those of folders without their last slash.
    """

    url: str

    @classmethod
    def of(cls, url: str | Path) -> Location:
        """Return the place that a URL names."""
        return cls(as_given(url).rstrip("/"))

    def __truediv__(self, name: str) -> Location:
        path, mark, query = self.url.partition("?") if self._is_http else (self.url, "", "")
        return Location(f"{path}/{name}{mark}{query}")

    def __str__(self) -> str:
        return without_secrets(self.url)

    @property
    def _is_http(self) -> bool:
        return self.url.startswith(("http://", "https://"))

    @property
    def name(self) -> str:
        """The last part of its path."""
        path = self.url.split("://", 1)[-1]
        if self._is_http:
            path = path.partition("?")[0]
        return PurePosixPath(path).name

    @cached_property
    def _at(self) -> tuple[Any, str]:
        url_to_fs = imported("fsspec.core", "remote").url_to_fs
        try:
            # What lies there changes, also by others: no listing is kept.
            system, path = url_to_fs(self.url, use_listings_cache=False)
        except ImportError as error:
            raise UsageError(*words_on_url(_words(error)), str(self)) from error
        except ValueError as error:
            problem = f"This is no URL that fsspec knows: {_words(error)}."
            raise UsageError(problem, "Check it.", str(self)) from error
        return system, str(path)

    def _tried(self, call: Callable[[], Answer]) -> Answer:
        """Return what a server answers, called again where it answers badly."""
        for number in range(TRIES):
            try:
                return call()
            except PermissionError as error:
                problem = f"The server of this URL does not allow it: {_words(error)}."
                remedy = "Check the credentials, and what they are allowed."
                raise StoreError(str(self), problem, remedy) from None
            except _FINAL:
                raise
            except bad_answers() as error:
                if number == TRIES - 1 or isinstance(error, ValueError):
                    problem = f"The server of this URL answers badly: {_words(error)}."
                    remedy = "Check the URL, the network and the credentials, then repeat the call."
                    raise StoreError(str(self), problem, remedy) from None
                time.sleep(FIRST_WAIT * 2**number)
        raise AssertionError

    def files(self) -> dict[str, str]:
        """Return the identity of every file below, by its path from here.

        The identity is what changes with the content: etag, size, time of change. Nothing where
        nothing lies here; the file itself, by the empty name, where this is one.
        """
        system, path = self._at
        try:
            found: Mapping[str, Mapping[str, Any]] = self._tried(
                partial(system.find, path, detail=True)
            )
        except FileNotFoundError:
            return {}
        listed: dict[str, str] = {}
        for name, facts in sorted(found.items()):
            if facts.get("type") != "directory":
                listed[_below(name, path)] = _identity(facts)
        return listed

    def children(self) -> dict[str, bool]:
        """Return the names directly below, and which of them are folders; nothing where none is."""
        system, path = self._at
        try:
            entries = self._tried(partial(system.ls, path, detail=True))
        except (FileNotFoundError, NotADirectoryError):
            return {}
        found: dict[str, bool] = {}
        for entry in entries:
            name = _below(str(entry["name"]).rstrip("/"), path)
            if name and "/" not in name:
                found[name] = entry["type"] == "directory"
        return dict(sorted(found.items()))

    def matching(self) -> list[Location]:
        """Return what a pattern matches, sorted."""
        system, path = self._at
        found = self._tried(partial(system.glob, path))
        scheme = self.url.partition("://")[0]
        return [Location(f"{scheme}://{str(each).lstrip('/')}") for each in sorted(found)]

    def identity(self) -> str | None:
        """Return what changes with a file's content; None where there is no file."""
        system, path = self._at
        try:
            facts = self._tried(partial(system.info, path))
        except FileNotFoundError:
            return None
        if facts.get("type") == "directory":
            return None
        return _identity(facts)

    def read(self) -> bytes:
        """Return a file's bytes; FileNotFoundError."""
        system, path = self._at
        return bytes(self._tried(partial(system.cat_file, path)))

    def write(self, content: bytes, *, new: bool = False) -> None:
        """Put a file, whole or not at all.

        FileExistsError if there is one and it must be ``new``: one of several processes that try at
        once succeeds.
        """
        system, path = self._at
        if not new:
            self._put(partial(system.pipe_file, path, content))
            return
        try:
            self._put(partial(system.pipe_file, path, content, mode="create"))
        except FileExistsError:
            # Ours, where the answer to the first try was lost.
            if self.read() != content:
                raise

    def put(self, local: Path) -> None:
        """Put a file of this machine, whole or not at all."""
        system, path = self._at
        self._put(partial(system.put_file, str(local), path))

    def _put(self, call: Callable[[], object]) -> None:
        try:
            self._tried(call)
        except (FileNotFoundError, NotImplementedError) as error:
            problem = f"Nothing can be put to this URL: {_words(error)}."
            remedy = "Check that its bucket is there and can be written."
            raise StoreError(str(self), problem, remedy) from None

    def get(self, local: Path) -> None:
        """Fetch a file, whole or not at all; FileNotFoundError."""
        system, path = self._at
        local.parent.mkdir(parents=True, exist_ok=True)
        fresh = local.with_name(f".{local.name}.{uuid4().hex[:8]}.partial")
        try:
            self._tried(partial(system.get_file, path, str(fresh)))
            fresh.replace(local)
        finally:
            fresh.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove a file; it is no error if there is none."""
        system, path = self._at
        with suppress(FileNotFoundError):
            self._tried(partial(system.rm_file, path))


def _below(name: str, path: str) -> str:
    return str(name).lstrip("/").removeprefix(path.strip("/")).lstrip("/")


def _identity(facts: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={facts[key]}" for key in _CHANGING if facts.get(key) is not None)


def _words(error: BaseException) -> str:
    said = str(TracebackException.from_exception(error)) or type(error).__name__
    return without_secrets(said.splitlines()[0].rstrip("."))


def all_at_once(calls: Iterable[Callable[[], object]]) -> None:
    """Make calls, several at a time, to their end; the first error is raised then."""
    with ThreadPoolExecutor(AT_ONCE, "slidecam-objects") as pool:
        futures = [pool.submit(call) for call in calls]
    for future in futures:
        future.result()


def put_folder(local: Path, there: Location, last: Iterable[str] = ()) -> None:
    """Put all files of a folder; those of the names in ``last`` after all others, in that order."""
    late = list(last)
    files = filter(Path.is_file, sorted(local.rglob("*")))
    names = [path.relative_to(local).as_posix() for path in files]
    all_at_once(partial((there / name).put, local / name) for name in names if name not in late)
    for name in filter(names.__contains__, late):
        (there / name).put(local / name)
