"""How a browser comes by the token: by a code that is good once, on no line that others can read.

Arguments of a process are shown to every user of a machine, and addresses are kept by browsers. So
a browser is started with a file that only the user can read, and what stands in an address is a
code, which is worth nothing once the page has exchanged it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from threading import Lock
from typing import TYPE_CHECKING

from slidecam.server.private_files import write_private

if TYPE_CHECKING:
    from pathlib import Path

MOST_CODES = 16
"""Codes that nobody has used yet; the oldest is forgotten first."""

PAGE = """<!doctype html>
<meta charset="utf-8">
<meta name="referrer" content="no-referrer">
<meta http-equiv="refresh" content="0; url={link}">
<title>slidecam</title>
<p>slidecam's page: <a href="{link}">open it</a>. This file is made anew each time it is used.</p>
"""


@dataclass(frozen=True)
class PageDoor:
    """Where a person finds the page.

    Attributes
    ----------
    link
        A link that works once.
    file
        A page that only the user can read, and that leads on every time.
    """

    link: str
    file: Path


class PageLinks:
    """Codes that are exchanged for the token, each once.

    Parameters
    ----------
    url
        Where the page is.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._codes: list[bytes] = []
        self._file: Path | None = None
        self._lock = Lock()

    def link(self) -> str:
        """Return a new link to the page, which works once."""
        code = secrets.token_urlsafe(24)
        with self._lock:
            self._codes = [*self._codes, _digest(code)][-MOST_CODES:]
        # What follows the # never leaves the browser, so that the code stands in no log.
        return f"{self._url}/#code={code}"

    def redeem(self, code: str) -> bool:
        """Take a code in; return whether it was good, which it is no more."""
        digest = _digest(code)
        with self._lock:
            if digest not in self._codes:
                return False
            self._codes.remove(digest)
        self._write()
        return True

    def keep(self, file: Path) -> PageDoor:
        """Keep a page at ``file`` whose code was not used yet; return it and another link."""
        self._file = file
        self._write()
        return PageDoor(self.link(), file)

    def _write(self) -> None:
        if self._file is not None:
            write_private(self._file, PAGE.format(link=escape(self.link(), quote=True)))


def _digest(code: str) -> bytes:
    # Held against each other, digests say nothing of a code by the time that it takes.
    return sha256(code.encode(errors="surrogateescape")).digest()
