"""Which files of this machine a client may name: those under some folders, links followed."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from slidecam.errors import UsageError
from slidecam.server.http_errors import RequestError


@dataclass(frozen=True)
class Roots:
    """Folders under which paths may lie.

    Attributes
    ----------
    given, resolved
        As they were named, and with every link followed.
    """

    given: tuple[Path, ...]
    resolved: tuple[Path, ...]

    @classmethod
    def of(cls, folders: tuple[Path, ...]) -> Roots:
        """Return roots of some folders; UsageError if one is none."""
        for folder in folders:
            if not folder.is_dir():
                raise UsageError(
                    f"--root {folder} is not a folder.", "Name a folder that holds slides."
                )
        absolute = tuple(Path(os.path.abspath(folder)) for folder in folders)  # noqa: PTH100  (resolve() follows links)
        return cls(absolute, tuple(folder.resolve() for folder in folders))

    def with_folder(self, folder: Path) -> Roots:
        """Return the same roots and one more folder, which need not be there yet."""
        return Roots((*self.given, folder.absolute()), (*self.resolved, folder.resolve()))

    def existing(self, text: str) -> Path:
        """Return a path that a client named and that is there.

        Raises
        ------
        RequestError
            400 if it is no absolute path, 403 if it leads out of the roots, 404 if there is
            nothing.
        """
        path = self.allowed(text)
        if not path.exists():
            raise RequestError(404, f"{text}: there is no such file or folder.", "Check the path.")
        return path

    def allowed(self, text: str) -> Path:
        """Return a path that a client named, which need not be there.

        RequestError as in `existing`.
        """
        path = _absolute(text)
        # Before anything is asked of the disk: on Windows, merely looking at \\server\share logs on
        # to it.
        self._refuse_outside(path, text, (*self.given, *self.resolved))
        self._refuse_outside(_resolved(path, text), text, self.resolved)
        return path

    def _refuse_outside(self, path: Path, text: str, folders: tuple[Path, ...]) -> None:
        if not any(map(path.is_relative_to, folders)):
            names = ", ".join(map(str, self.given))
            raise RequestError(
                403, f"{text} lies outside {names}.", "Start the server with --root FOLDER for it."
            )


def _absolute(text: str) -> Path:
    if "://" in text:
        raise RequestError(403, f"{text} is a URL.", "Name a file on this machine.")
    if "\0" in text or not Path(text).is_absolute():
        raise RequestError(400, f"{text!r} is no absolute path.", "Write the whole path.")
    return Path(os.path.normpath(text))


def _resolved(path: Path, text: str) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise RequestError(
            400, f"{text}: this path leads nowhere ({error}).", "Check its links."
        ) from error
