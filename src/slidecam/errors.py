"""Everything that slidecam raises on purpose, as one tree.

Each line ends with what the doors make of it: ``2`` where the call was wrong and the command line
exits with 2 (else 1), and the server's HTTP status.

SlidecamError                                                                           -  422
├── UsageError (ValueError)                 what was asked for contradicts itself       2  400
│                                           or is not there
│   └── NothingToChooseError                a file leaves no room for a choice          2  400
├── SourceError                                                                         -  422
│   ├── UnknownFormatError (ValueError)     no reader recognises the file's content     -  415
│   ├── UnreadableSourceError (OSError)     it is recognised and cannot be opened       -  422
│   │   ├── RefusedSourceError              its own reader knows what it is, and that    -  422
│   │   │                                   it is no picture to classify: final
│   │   └── ReaderFailedError               a reader raised what nobody foresaw          -  422
│   ├── RegionReadError (OSError)           the file is open and one of its regions     -  422
│   │                                       cannot be decoded
│   ├── SpacingError (ValueError)           µm per pixel is missing or not believable   2  400
│   ├── ShownSizeError (ValueError)         another program shows the slide in a frame  2  400
│   │                                       that we do not know
│   └── SlideFailedError (OSError)          nothing of a slide could be read, or its    -  422
│                                           outputs not be written
├── MaskError (ValueError)                  a foreground mask that cannot be read or    2  400
│                                           does not fit its slide
├── TilingError (ValueError)                a tiling that no slide could be cut by      2  400
├── BundleError                                                                         -  422
│   ├── MissingBundleError (FileNotFoundError)  no model bundle in this folder          2  404
│   ├── CardError (ValueError)              card.json or config.json says something     -  422
│   │                                       impossible
│   ├── WeightsError (ValueError)           wrong hash, missing key or wrong shape      -  422
│   └── UntrustedCodeError (PermissionError)  the weights could run code and trust      2  403
│                                           was not given
├── ExplanationError (ValueError)           the classifier has no such class or no map  2  400
│                                           to explain it on
├── DataSetError (ValueError)               pictures to learn from that are missing,    -  422
│                                           unreadable or of one class only
├── RecipeError (ValueError)                a recipe that says something impossible;    2  400
│                                           all of it at once
├── CheckpointError (ValueError)            a training that cannot be continued from    2  400
│                                           this file
├── DeviceError (ValueError)                the device or precision asked for is not    2  400
│                                           on this machine
├── EntryFailedError                        a registry's entry, another package's        -  500
│                                           perhaps, raised what nobody foresaw
├── ViewerError                             what a library did not foresee while a      -  500
│                                           viewer's widget waited for it
└── StoreError                                                                          -  422
    ├── RunExistsError (FileExistsError)    there is a run already and neither resume   2  409
    │                                       nor overwrite was said
    └── RunMismatchError (ValueError)       the run that is there was made by another   -  422
                                            plan

One rule says which: where another option, path or setting would mend it, the call was wrong (400;
403, 404 and 409 say it closer); where a file must be mended first, the call was right and failed.
Every message ends with its remedy. No leaf is a RuntimeError: viewers' generator workers swallow
those.
"""

from __future__ import annotations

import re
from copyreg import __newobj__  # type: ignore[attr-defined]  # typeshed leaves it out
from traceback import TracebackException
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from slidecam.geometry import LevelBox


LISTED, REMEDIES = 5, 3
"""Files that a message names, counting the others; and different remedies that it repeats."""

_PLAIN_WORD = re.compile("(?!slidecam )[a-z]+(?=[ ,])")
"""A problem's first word where it is a plain one: no option, key, file or command."""

_SENTENCE_WORD = re.compile("[A-Z][a-z]*(?=[ ,])")
"""The same with the capital of a sentence; ``QuPath`` and ``CAM`` keep theirs within one."""

_QUERY = re.compile(
    r"""
    (\w://[^\s?'"]*)              # a URL up to its query
    \?(?:[^\s'"]|['"](?=[\w%]))*?  # which may hold brackets and quotes
    (?=[).,;:\]>]*(?:['"](?![\w%])|\s|$))  # but for those that end the sentence around it
    """,
    re.VERBOSE,
)
_LOGIN = re.compile(r"(\w://)[^/\s]*@")


def without_secrets(text: str) -> str:
    """Return a text whose URLs have neither password nor query, which may open a server."""
    if "://" not in text:
        return text
    return _LOGIN.sub(r"\1", _QUERY.sub(r"\1", text))


class Fault(Protocol):
    """What can be mended: an error, or what is left of one in a table."""

    @property
    def remedy(self) -> str:
        """What to do about it; or nothing."""


def remedies_of(faults: Iterable[Fault]) -> str:
    """Return what mends faults, each remedy once, at most `REMEDIES` of them; or nothing."""
    different: dict[str, None] = {}
    for fault in faults:
        if fault.remedy:
            different[fault.remedy] = None
    return " ".join(list(different)[:REMEDIES])


def listed_problems(problems: Sequence[str], total: int, undone: str) -> str:
    """Return what is wrong with some pictures of a set, naming the first `LISTED`, as a sentence.

    ``undone`` is what cannot be done with them: ``opened``, ``read``.
    """
    more = ""
    if len(problems) > LISTED:
        more = f" (and {len(problems) - LISTED} more)"
    listed = "; ".join(problems[:LISTED])
    return f"{len(problems)} of {total} pictures cannot be {undone}: {listed}{more}."


class SlidecamError(Exception):
    """Base of all errors that slidecam raises on purpose.

    Parameters
    ----------
    problem
        What is wrong, from its first word on: a viewer shows no more of a message. A plain word
        there gets a capital; options, keys, files and what is quoted stay as they are written.
    remedy
        What the user can do about it: an option to pass, a file to mend.
    path
        The file or folder that it is about; it stands at the problem's end, a URL without what
        opens its server.

    Attributes
    ----------
    usage
        Whether the call was wrong, and not what it met: the command line exits with 2, else with 1.
    status
        What the server answers, as HTTP counts.
    foreseen
        Whether its words say all; else its cause is an error that nobody foresaw, whose traceback
        is worth keeping.
    """

    usage: bool = False
    status: int = 422
    foreseen: bool = True

    def __init__(self, problem: str, remedy: str, path: str | Path | None = None) -> None:
        if path is not None:
            problem = f"{problem.removesuffix('.')} ({path})."
        problem, remedy = without_secrets(problem), without_secrets(remedy)
        if _PLAIN_WORD.match(problem):
            problem = f"{problem[0].upper()}{problem[1:]}"
        super().__init__(f"{problem} {remedy}".strip())
        self.problem, self.remedy = problem, remedy

    def __reduce__(self) -> tuple[Any, ...]:
        # From one process to another as it is, whatever its class is called with.
        return __newobj__, (type(self),), {**vars(self), "args": self.args}

    @property
    def clause(self) -> str:
        """The problem as it stands within a sentence: without a capital and a full stop."""
        said = self.problem.removesuffix(".")
        if _SENTENCE_WORD.match(said):
            return f"{said[0].lower()}{said[1:]}"
        return said

    def add_remedy(self, more: str) -> None:
        """Say what else the user can do about it."""
        self.remedy = f"{self.remedy} {more}".strip()
        self.args = (f"{self.problem} {self.remedy}",)

    def traceback(self) -> list[str]:
        """Return the lines of its cause's traceback; none where slidecam foresaw the error."""
        if self.foreseen or self.__cause__ is None:
            return []
        lines = TracebackException.from_exception(self.__cause__).format()
        return without_secrets("".join(lines)).splitlines()


class UsageError(SlidecamError, ValueError):
    """What was asked for contradicts itself or names something that is not there."""

    usage = True
    status = 400


class NothingToChooseError(UsageError):
    """A file has one plane, one picture, plain colours or no volume, and another was chosen.

    Attributes
    ----------
    names
        Fields of `PictureView` and `VolumeView` that it leaves no room for.
    """

    def __init__(self, path: str | Path, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        words = " and ".join(f"--{name}" for name in sorted(self.names))
        problem = f"This file leaves nothing to choose by {words}."
        super().__init__(problem, f"Leave {words} out.", path)


class SourceError(SlidecamError):
    """Something about one slide or picture; ``path`` names it."""

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy, path)
        self.path = str(path)


class UnknownFormatError(SourceError, ValueError):
    """No reader recognises the content of this file."""

    status = 415


class UnreadableSourceError(SourceError, OSError):
    """A reader recognises the file but cannot open it."""


class RefusedSourceError(UnreadableSourceError):
    """The reader of this format knows what the file is, and that it may not be shown as a slide.

    Final: no other reader, who knows less of it, is offered the file.
    """


class ReaderFailedError(UnreadableSourceError):
    """A reader raised what nobody foresaw; that error is the cause."""

    foreseen = False


class RegionReadError(SourceError, OSError):
    """The file is open, but the region ``box`` of ``level`` cannot be decoded."""

    def __init__(
        self,
        path: str | Path,
        level: int,
        box: LevelBox,
        reason: str,
        remedy: str = "The file is probably damaged there; copy it again.",
    ) -> None:
        super().__init__(
            path,
            f"cannot decode level {level} at x={box.x}, y={box.y}, {box.width}x{box.height} px:"
            f" {reason}.",
            remedy,
        )
        self.level = level
        self.box = box


class SpacingError(SourceError, ValueError):
    """The µm per pixel of a slide are missing or not believable."""

    usage = True
    status = 400


class ShownSizeError(SourceError, ValueError):
    """Another program shows the slide neither whole nor cropped to its scanned bounds.

    So places cannot be matched.
    """

    usage = True
    status = 400


class MaskError(SlidecamError, ValueError):
    """A foreground mask that cannot be read or does not fit its slide."""

    usage = True
    status = 400


class TilingError(SlidecamError, ValueError):
    """A tiling that no slide could be cut by."""

    usage = True
    status = 400


class BundleError(SlidecamError):
    """Something about one model bundle; ``path`` names it."""

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy, path)
        self.path = str(path)


class MissingBundleError(BundleError, FileNotFoundError):
    """There is no model bundle in this folder."""

    usage = True
    status = 404


class CardError(BundleError, ValueError):
    """The card says something impossible or leaves out something needed."""


class WeightsError(BundleError, ValueError):
    """The weights do not fit the card: wrong hash, missing key, wrong shape."""


class UntrustedCodeError(BundleError, PermissionError):
    """Loading these weights could run code, and trust was not given."""

    usage = True
    status = 403


class ExplanationError(SlidecamError, ValueError):
    """The classifier has no such class, or no activation map to explain it on."""

    usage = True
    status = 400


class DataSetError(SlidecamError, ValueError):
    """Pictures to learn from or to be measured on are missing, unreadable or of one class only."""


class RecipeError(SlidecamError, ValueError):
    """A recipe says something impossible; the message lists everything that is wrong with it."""

    usage = True
    status = 400


class CheckpointError(SlidecamError, ValueError):
    """A training cannot be continued from this file."""

    usage = True
    status = 400


class DeviceError(SlidecamError, ValueError):
    """The device or precision asked for is not to be had on this machine."""

    usage = True
    status = 400


class EntryFailedError(SlidecamError):
    """The code of a registry's entry raised what nobody foresaw; that error is the cause."""

    status = 500
    foreseen = False


class ViewerError(SlidecamError):
    """A library failed in a viewer's background.

    It is no RuntimeError, which would be swallowed there.
    """

    status = 500


class SlideFailedError(SourceError, OSError):
    """Nothing of a slide could be classified, or its outputs could not be written."""


class StoreError(SlidecamError):
    """Something about the run store in ``path``."""

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy, path)
        self.path = str(path)


class RunExistsError(StoreError, FileExistsError):
    """There is a run in this folder already, and neither resume nor overwrite was asked for.

    ``claimed`` where another process is at work on it.
    """

    usage = True
    status = 409
    claimed = False


class RunMismatchError(StoreError, ValueError):
    """The run in this folder was made from another slide, bundle or plan."""
