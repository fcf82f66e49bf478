"""What the libraries that decode slides may raise, and how slidecam words it."""

from __future__ import annotations

import struct
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slidecam.errors import RefusedSourceError, RegionReadError, UnreadableSourceError, UsageError
from slidecam.objects import remote_errors
from slidecam.pixels import reason
from slidecam.system_errors import system_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

    from slidecam.geometry import LevelBox

Errors = tuple[type[Exception], ...]

DECODING_ERRORS: Errors = (
    OSError,  # Pillow, OpenSlide's cousins, every file system
    ValueError,  # tifffile, zarr, JSON
    RuntimeError,  # imagecodecs derives all of its codecs' errors from it
    LookupError,  # a tag, key or level that a damaged file does not have
    TypeError,  # tifffile and tiffslide on tags of the wrong type
    AttributeError,  # tifffile and tiffslide on tags that are absent
    ArithmeticError,  # a resolution of x/0
    AssertionError,  # tifffile's own checks
    SyntaxError,  # Pillow on a broken PNG, ElementTree on broken XML
    EOFError,
    ImportError,  # a codec or an fsspec protocol that is not installed
    struct.error,
    zlib.error,
)
"""Every exception that a damaged or foreign file has been seen to draw from a decoding library.

The libraries promise no common base class; what is not listed here (MemoryError, KeyboardInterrupt)
passes.
"""


class NotDecodedError(ValueError):
    """Nothing here decodes what may be sound."""


def repeated(error: BaseException) -> Exception:
    """Return an error once more, for whoever meets it later; a library's own as ValueError."""
    if isinstance(error, NotDecodedError):
        return NotDecodedError(str(error))
    if isinstance(error, OSError) and error.errno is not None:
        return OSError(error.errno, error.strerror, error.filename)
    return ValueError(str(error))


CONVERT = "Convert it to another compression, or to none, where it comes from."


@contextmanager
def opening(
    path: str,
    what: str,
    remedy: str,
    also: Errors = (),
    *,
    refused: bool = False,
) -> Iterator[None]:
    """Turn whatever a library raises in the block into an `UnreadableSourceError`.

    Parameters
    ----------
    path
        The file, as the user named it.
    what
        What the file is, as the sentence begins: ``"This is a TIFF"``.
    remedy
        What the user can do.
    also
        Errors of the library that derive from Exception alone.
    refused
        Whether nobody else may try: a `RefusedSourceError` then.
    """
    try:
        yield
    except (UnreadableSourceError, UsageError):
        raise
    except (*DECODING_ERRORS, *also, *remote_errors()) as error:
        problem = f"{what}, but it cannot be opened: {reason(error)}."
        fault = system_fault(error)
        if fault is not None:
            problem, remedy = f"{what}, but it cannot be opened. {fault.problem}.", fault.remedy
        if refused:
            raise RefusedSourceError(path, problem, remedy) from error
        raise UnreadableSourceError(path, problem, remedy) from error


@contextmanager
def decoding(path: str, level: int, box: LevelBox) -> Iterator[None]:
    """Turn whatever a library raises in the block into a `RegionReadError` of that box.

    Whatever it is: a library's error that nobody has seen before is one failed read.
    """
    try:
        yield
    except (RegionReadError, UsageError):
        raise
    except NotDecodedError as error:
        raise RegionReadError(path, level, box, reason(error), CONVERT) from error
    except MemoryError:
        raise
    # The boundary of one region: decoders promise no list of what they raise.
    except Exception as error:
        fault = system_fault(error)
        if fault is not None:
            raise RegionReadError(path, level, box, fault.problem, fault.remedy) from error
        raise RegionReadError(path, level, box, reason(error)) from error


@contextmanager
def decoding_associated(path: str, name: str, also: Errors = ()) -> Iterator[None]:
    """Turn whatever a library raises in the block into an `UnreadableSourceError`.

    The error is about a label or macro.
    """
    try:
        yield
    except UsageError:
        raise
    except (*DECODING_ERRORS, *also, *remote_errors()) as error:
        problem = f"The {name} image cannot be decoded: {reason(error)}."
        raise UnreadableSourceError(
            path, problem, "The slide itself may still be readable."
        ) from error


def closed(path: str) -> UsageError:
    """Return the error of reading from a source after `Source.close`."""
    return UsageError("This source is closed.", "Open it again with open_source().", path)
