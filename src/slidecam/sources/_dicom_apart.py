"""Compressed frames of DICOM, decoded in a process of their own: their codecs are native code.

What ends that process, or needs more memory than it may take, is one slice that cannot be read.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from pydicom import dcmread

from slidecam.sources._dicom_pixels import decoded
from slidecam.sources._reader_owner import (
    ANSWER_SECONDS,
    ReaderEndedError,
    idle_readers,
    is_reader,
)

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

    import numpy as np
    from numpy.typing import NDArray

    from slidecam.sources._dicom_frames import Frame
    from slidecam.sources._reader_owner import ReaderProcess


class FrameDecoder:
    """Decodes one frame after another, in a ``with`` block; those that are not packed right here.

    A process is taken for the first one that is packed, and another where it ended.
    """

    def __init__(self) -> None:
        self._process: ReaderProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._process is not None:
            idle_readers().put(self._process)

    def __call__(self, frame: Frame) -> NDArray[np.generic]:
        """Return what `decoded` does.

        Raises
        ------
        Exception
            Whatever a decoder raises.
        ValueError
            If it ended its process, or gave no answer.
        """
        if is_reader() or not _is_packed(frame.path, frame.path.stat().st_mtime_ns):
            return decoded(frame)
        if self._process is None or self._process.has_ended:
            try:
                self._process = idle_readers().take()
            except OSError:  # no other process can be started
                return decoded(frame)
        absolute = replace(frame, path=frame.path.absolute())
        try:
            pixels: NDArray[np.generic] = self._process.ask(
                "decode_frame", absolute, seconds=ANSWER_SECONDS
            )
        except ReaderEndedError as error:
            raise ValueError(f"the process that decoded it ended ({error})") from error
        return pixels


@lru_cache(maxsize=64)
def _is_packed(path: Path, _changed: int) -> bool:
    """Whether pixels are compressed, or stored in a way that nobody knows."""
    header = dcmread(path, stop_before_pixels=True, force=True, specific_tags=["Rows"])
    syntax = getattr(header, "file_meta", {}).get("TransferSyntaxUID")
    if syntax is None:
        return False
    return not syntax.is_transfer_syntax or bool(syntax.is_compressed)
