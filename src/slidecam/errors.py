"""Everything that slidecam raises on purpose, as one tree.

SlidecamError
├── UsageError (ValueError)                 what was asked for contradicts itself or is not there
├── SourceError
│   ├── UnknownFormatError (ValueError)     no reader recognises the file's content
│   ├── UnreadableSourceError (OSError)     a reader recognises the file and cannot open it
│   ├── RegionReadError (OSError)           the file is open and one of its regions cannot be
│   │                                       decoded
│   ├── SpacingError (ValueError)           µm per pixel is missing or not believable
│   └── ShownSizeError (ValueError)         another program shows the slide in a frame that we do
│                                           not know
├── MaskError (ValueError)                  a foreground mask that cannot be read or does not fit
│                                           its slide
├── TilingError (ValueError)                a tiling that no slide could be cut by
├── BundleError
│   ├── MissingBundleError (FileNotFoundError)  no model bundle in this folder
│   ├── CardError (ValueError)              card.json or config.json says something impossible
│   ├── WeightsError (ValueError)           wrong hash, missing key or wrong shape
│   └── UntrustedCodeError (PermissionError)  the weights could run code and trust was not given
├── ExplanationError (ValueError)           the classifier has no such class or no map to explain it
│                                           on
├── DataSetError (ValueError)               pictures to learn from that are missing, unreadable or
│                                           of one class only
├── RecipeError (ValueError)                a recipe that says something impossible; all of it at
│                                           once
├── CheckpointError (ValueError)            a training that cannot be continued from this file
├── DeviceError (ValueError)                the device or precision asked for is not on this machine
├── ViewerError                             what a library did not foresee while a viewer's widget
│                                           waited for it
├── SlideFailedError (OSError)              nothing of a slide could be read, or its outputs not be
│                                           written
└── StoreError
    ├── RunExistsError (FileExistsError)    there is a run already and neither resume nor overwrite
    │                                       was said
    └── RunMismatchError (ValueError)       the run that is there was made by another plan

Every message ends with its remedy. No leaf is a RuntimeError: viewers' generator workers swallow
those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from slidecam.geometry import LevelBox


class SlidecamError(Exception):
    """Base of all errors that slidecam raises on purpose.

    Parameters
    ----------
    problem
        What is wrong, naming the file and the value.
    remedy
        What the user can do about it: an option to pass, a file to mend.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem} {remedy}".strip())
        self.problem = problem
        self.remedy = remedy


class UsageError(SlidecamError, ValueError):
    """What was asked for contradicts itself or names something that is not there."""


class SourceError(SlidecamError):
    """Something about one slide or picture; ``path`` names it."""

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}", remedy)
        self.path = str(path)


class UnknownFormatError(SourceError, ValueError):
    """No reader recognises the content of this file."""


class UnreadableSourceError(SourceError, OSError):
    """A reader recognises the file but cannot open it."""


class RegionReadError(SourceError, OSError):
    """The file is open, but the region ``box`` of ``level`` cannot be decoded."""

    def __init__(self, path: str | Path, level: int, box: LevelBox, reason: str) -> None:
        super().__init__(
            path,
            f"cannot decode level {level} at x={box.x}, y={box.y}, {box.width}x{box.height} px:"
            f" {reason}.",
            "The file is probably damaged there; copy it again.",
        )
        self.level = level
        self.box = box


class SpacingError(SourceError, ValueError):
    """The µm per pixel of a slide are missing or not believable."""


class ShownSizeError(SourceError, ValueError):
    """Another program shows the slide neither whole nor cropped to its scanned bounds.

    So places cannot be matched.
    """


class MaskError(SlidecamError, ValueError):
    """A foreground mask that cannot be read or does not fit its slide."""


class TilingError(SlidecamError, ValueError):
    """A tiling that no slide could be cut by."""


class BundleError(SlidecamError):
    """Something about one model bundle; ``path`` names it."""

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}", remedy)
        self.path = str(path)


class MissingBundleError(BundleError, FileNotFoundError):
    """There is no model bundle in this folder."""


class CardError(BundleError, ValueError):
    """The card says something impossible or leaves out something needed."""


class WeightsError(BundleError, ValueError):
    """The weights do not fit the card: wrong hash, missing key, wrong shape."""


class UntrustedCodeError(BundleError, PermissionError):
    """Loading these weights could run code, and trust was not given."""


class ExplanationError(SlidecamError, ValueError):
    """The classifier has no such class, or no activation map to explain it on."""


class DataSetError(SlidecamError, ValueError):
    """Pictures to learn from or to be measured on are missing, unreadable or of one class only."""


class RecipeError(SlidecamError, ValueError):
    """A recipe says something impossible; the message lists everything that is wrong with it."""


class CheckpointError(SlidecamError, ValueError):
    """A training cannot be continued from this file."""


class DeviceError(SlidecamError, ValueError):
    """The device or precision asked for is not to be had on this machine."""


class ViewerError(SlidecamError):
    """A library failed in a viewer's background.

    It is no RuntimeError, which would be swallowed there.
    """


class SlideFailedError(SourceError, OSError):
    """Nothing of a slide could be classified, or its outputs could not be written."""


class StoreError(SlidecamError):
    """Something about the run store in ``path``."""

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        super().__init__(f"{path}: {problem}", remedy)
        self.path = str(path)


class RunExistsError(StoreError, FileExistsError):
    """There is a run in this folder already, and neither resume nor overwrite was asked for."""


class RunMismatchError(StoreError, ValueError):
    """The run in this folder was made from another slide, bundle or plan."""
