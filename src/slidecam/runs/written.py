"""Whether a run's outputs are still as they were written: a name alone tells nothing.

A power cut leaves files of no bytes under their final names, people edit tables, disks lose parts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class OutputMark:
    """What an output was when it was written.

    Attributes
    ----------
    size
        Bytes; of a folder those of all files in it.
    sha256
        Of the file's content; of a folder of its files' names and sizes, as reading a heatmap whole
        would take longer than all else that a finished slide costs.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> OutputMark:
        """Return the mark of a file or folder; OSError if it cannot be read."""
        if not path.is_dir():
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256")
                return cls(stream.tell(), digest.hexdigest())
        total, listed = 0, hashlib.sha256()
        for file in sorted(path.rglob("*")):
            if file.is_file():
                size = file.stat().st_size
                total += size
                listed.update(f"{file.relative_to(path).as_posix()} {size}\n".encode())
        return cls(total, listed.hexdigest())

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> OutputMark:
        """Return what `to_json` made."""
        return cls(int(data["bytes"]), str(data["sha256"]))

    def to_json(self) -> dict[str, int | str]:
        """Return it as JSON values."""
        return {"bytes": self.size, "sha256": self.sha256}

    def is_of(self, path: Path) -> bool:
        """Whether a file or folder is still what it was."""
        try:
            return self == OutputMark.of(path)
        except OSError:
            return False


def output_marks(folder: Path, names: Iterable[str]) -> dict[str, OutputMark]:
    """Return the marks of those outputs that are there; OSError if one cannot be read."""
    return {name: OutputMark.of(folder / name) for name in names if (folder / name).exists()}


def changed_outputs(
    folder: Path, marks: Mapping[str, OutputMark], names: Iterable[str]
) -> tuple[str, ...]:
    """Return which outputs are there and are not what was written; without a mark none is."""
    changed = []
    for name in names:
        mark = marks.get(name)
        if mark is not None and (folder / name).exists() and not mark.is_of(folder / name):
            changed.append(name)
    return tuple(changed)


def words_on_changed(names: Sequence[str]) -> tuple[str, ...]:
    """Return in a sentence that outputs are written anew, as something has changed them."""
    if not names:
        return ()
    listed = ", ".join(names)
    return (f"Not as it was written, damaged or edited, and so written anew: {listed}.",)
