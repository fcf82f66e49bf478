"""What one request may take of the machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of requests; what lies beyond is refused with a remedy.

    Attributes
    ----------
    body_bytes
        Of a request: an uploaded picture, or a job with a mask in it.
    body_seconds
        Until a body has come in whole.
    pixels
        Of an uploaded picture, as its header says: a small file can hold a picture that fills the
        memory.
    image_seconds
        From the decoding of an uploaded picture to the last of its maps.
    waiting_images
        Pictures that are received, waiting or at work; each holds its bytes in memory.
    waiting_jobs
        Jobs that wait for a device.
    kept_jobs
        Jobs that are remembered after their end; their results stay on disk.
    kept_lines
        Events of a job that are remembered.
    open_slides
        Slides that stay open for viewers.
    """

    body_bytes: int = 64_000_000
    body_seconds: float = 60.0
    pixels: int = 50_000_000
    image_seconds: float = 120.0
    waiting_images: int = 8
    waiting_jobs: int = 32
    kept_jobs: int = 200
    kept_lines: int = 50_000
    open_slides: int = 4
