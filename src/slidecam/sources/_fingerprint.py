"""A digest that tells one slide from another without reading all of it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SAMPLES = 16
SAMPLE_BYTES = 65_536
DIGITS = 32


def fingerprint_of_stream(stream: BinaryIO) -> str:
    """Return the digest of a file's size and of 16 evenly spread samples of 64 KiB.

    The samples include its ends.
    """
    size = stream.seek(0, 2)
    digest = hashlib.sha256(str(size).encode())
    last = max(0, size - SAMPLE_BYTES)
    for offset in sorted({round(last * index / (SAMPLES - 1)) for index in range(SAMPLES)}):
        stream.seek(offset)
        digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()[:DIGITS]


def fingerprint_of_files(files: Iterable[Path]) -> str:
    """Return the digest of several files together, whatever their names and order."""
    parts = []
    for file in files:
        with file.open("rb") as stream:
            parts.append(fingerprint_of_stream(stream))
    if len(parts) == 1:
        return parts[0]
    return fingerprint_of_text("\n".join(sorted(parts)))


def fingerprint_of_text(text: str) -> str:
    """Return the digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
