"""The JSON file of a card: its object, and everything that is wrong with what it says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slidecam.errors import CardError
from slidecam.settings import Complaints, shown

if TYPE_CHECKING:
    from pathlib import Path

SHOWN_LENGTH = 80
"""Characters of a file that holds no object which a message repeats."""


@dataclass
class CardComplaints(Complaints):
    """Everything that is wrong with a card, as one `CardError`.

    Attributes
    ----------
    faults
        Problem and remedy of each line.
    """

    faults: list[tuple[str, str]] = field(default_factory=list)

    def add(self, key: str, problem: str, remedy: str) -> None:
        """Note one more; the key is written as it stands in JSON."""
        super().add(f'"{key}"', problem, remedy)
        self.faults.append((f'"{key}" {problem}.', remedy))

    def check(self, path: Path) -> None:
        """Refuse the card in ``path`` where there is a complaint.

        Raises
        ------
        CardError
            The only one, or a list of them all.
        """
        if len(self.faults) == 1:
            raise CardError(path, *self.faults[0])
        if self.faults:
            listed = "\n".join(f"  - {line}" for line in self.lines)
            problem = f"{len(self.faults)} things are wrong in the card:\n{listed}\nAll in one card"
            raise CardError(path, problem, "Mend each of them.")


def read_json_object(path: Path) -> dict[str, object]:
    """Return the JSON object in ``path``; CardError if it cannot be read or is something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        problem = f"The card is not readable as JSON: {error}."
        raise CardError(path, problem, "Mend the file, or make it anew.") from error
    if not isinstance(values, dict):
        problem = f"The card holds {shown(values, SHOWN_LENGTH)}, not a JSON object."
        raise CardError(path, problem, "Put its keys between { and }.")
    return values
