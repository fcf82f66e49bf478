"""Which volume of a file that holds several is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slidecam.errors import UnreadableSourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slidecam.sources._probe import Probe

TOLD = 12
"""Names that a message lists."""


def chosen_volume(probe: Probe, names: Sequence[str]) -> int:
    """Return the number of the volume that the view names.

    ``names`` are those that the file has, or empty texts.

    Raises
    ------
    UnreadableSourceError
        If there is no such volume.
    """
    wanted = probe.view.volume
    if wanted is None:
        return 0
    if wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    for number, name in enumerate(names):
        if name and name.casefold() == wanted.casefold():
            return number
    problem = f"there is no volume {wanted!r} among its {len(names)}{_listed(names)}."
    raise UnreadableSourceError(
        probe.given, problem, f"Pass --volume 0 to {len(names) - 1}, or one of its names."
    )


def told_of_volumes(probe: Probe, names: Sequence[str], number: int) -> tuple[str, ...]:
    """Return the sentence on which of several volumes is read; nothing where there is one."""
    if len(names) == 1:
        return ()
    if names[number]:
        which = f"{number} ({names[number]})"
    else:
        which = str(number)
    asked = "; pass --volume to read another"
    if probe.view.volume is not None:
        asked = ""
    return (f"It holds {len(names)} volumes{_listed(names)}: volume {which} is read{asked}.",)


def _listed(names: Sequence[str]) -> str:
    shown = [name for name in names if name][:TOLD]
    if shown:
        return f" ({', '.join(shown)}{', …' if len(names) > TOLD else ''})"
    return ""
