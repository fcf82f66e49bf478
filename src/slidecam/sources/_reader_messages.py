"""What a reader's process and its owner say to each other, and how it goes through a pipe.

Both ends are slidecam's own, of one version and one user, so that pickles are safe between them.
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from slidecam.errors import SlidecamError
from slidecam.sources._library import repeated

if TYPE_CHECKING:
    from io import RawIOBase

    from slidecam.sources.source import SourceFacts
    from slidecam.viewing import PictureView

SLOT_BYTES = 16 * 2**20
"""The largest region that goes through shared memory; a larger one goes through the pipe."""

SLOTS = 16
"""Regions that are read at a time."""

ARENA_BYTES = SLOTS * SLOT_BYTES
"""Shared with each reader's process; only what is touched of it takes memory."""

_LENGTH = struct.Struct("<Q")


@dataclass(frozen=True)
class Request:
    """One question: ``verb`` is a method of `slidecam.sources._reader_process.Reading`."""

    number: int
    verb: str
    given: tuple[Any, ...]


@dataclass(frozen=True)
class Reply:
    """The answer to the question of that number: a value, or what was raised instead.

    Attributes
    ----------
    number
        The question's.
    value
        What its verb returned.
    error
        What it raised, as far as it pickles.
    traceback
        Where that was, for whoever mends it; empty where slidecam foresaw it.
    """

    number: int
    value: Any = None
    error: Exception | None = None
    traceback: str = ""

    @classmethod
    def of_error(cls, number: int, error: Exception) -> Reply:
        """Return the answer that an error is."""
        if isinstance(error, SlidecamError):
            return cls(number, error=error, traceback="\n".join(error.traceback()))
        plain = repeated(error)
        if isinstance(error, MemoryError | KeyError | IndexError):
            plain = type(error)(*map(str, error.args))
        return cls(number, error=plain, traceback="".join(format_exception(error)))

    def given(self) -> Any:  # noqa: ANN401  (as the verb has it)
        """Return the value, or raise the error."""
        if self.error is None:
            return self.value
        if self.traceback:
            self.error.__cause__ = RuntimeError(f"in its reader's process:\n{self.traceback}")
        raise self.error


@dataclass(frozen=True)
class Opened:
    """A source that is open in a reader's process.

    Attributes
    ----------
    facts, seen, token
        As `Source` has them.
    is_sparse
        Whether asking `Source.is_absent` can be of use.
    """

    facts: SourceFacts
    seen: PictureView
    token: str
    is_sparse: bool


@dataclass(frozen=True)
class NotRead:
    """What a reader's process leaves to its owner: a volume."""


def send(stream: RawIOBase, message: Request | Reply) -> None:
    """Write one message; OSError where nobody reads."""
    packed = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    left = memoryview(_LENGTH.pack(len(packed)) + packed)
    while left:
        left = left[stream.write(left) or 0 :]


def receive(stream: RawIOBase) -> Any:  # noqa: ANN401  (a Request at one end, a Reply at the other)
    """Return the next message; EOFError where the other end is gone."""
    head = _exactly(stream, _LENGTH.size)
    packed = _exactly(stream, _LENGTH.unpack(head)[0])
    return pickle.loads(packed)  # noqa: S301  (from our own process, see above)


def _exactly(stream: RawIOBase, count: int) -> bytearray:
    found = bytearray(count)
    left = memoryview(found)
    while left:
        more = stream.readinto(left)
        if not more:
            raise EOFError
        left = left[more:]
    return found
