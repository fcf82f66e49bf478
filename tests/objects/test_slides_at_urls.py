"""Slides at URLs: prefixes and patterns listed, volumes and DICOM fetched, names as on a drive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from slidecam.errors import UnreadableSourceError, UsageError
from slidecam.objects import Location
from slidecam.sources import open_source
from slidecam.sources.discovery import find_slides
from slidecam.sources.names import FindSpec

if TYPE_CHECKING:
    from collections.abc import Callable

BUCKET = "memory://bucket"


def fill(*names: str) -> None:
    for name in names:
        (Location(BUCKET) / name).write(b"{}")


def found(*urls: str, **where: Any) -> list[tuple[str, str]]:
    slides = find_slides(urls, FindSpec(**where)).slides
    return [(slide.name, slide.path.removeprefix(f"{BUCKET}/")) for slide in slides]


def test_a_prefix_gives_the_slides_directly_in_it() -> None:
    fill("in/a.svs", "in/B.TIF", "in/notes.txt", "in/z.zarr/zarr.json", "in/more/c.svs", "d.svs")
    wanted = [("B", "in/B.TIF"), ("a", "in/a.svs"), ("z", "in/z.zarr")]
    assert found(f"{BUCKET}/in/") == found(f"{BUCKET}/in") == wanted
    assert ("c", "in/more/c.svs") in found(f"{BUCKET}/in", recursive=True)
    assert len(found(f"{BUCKET}/in", recursive=True, exclude=("a.*",))) == 3
    said = find_slides([f"{BUCKET}/in"]).ignored
    assert any("notes.txt" in sentence for sentence in said)
    assert any("more" in sentence and "--recursive" in sentence for sentence in said)


def test_a_pattern_gives_what_it_matches() -> None:
    fill("in/a.svs", "in/b.svs", "in/c.tif")
    assert found(f"{BUCKET}/in/*.svs") == [("a", "in/a.svs"), ("b", "in/b.svs")]
    fill("in/odd[1].svs")
    assert found(f"{BUCKET}/in/odd[1].svs") == [("odd[1]", "in/odd[1].svs")]
    with pytest.raises(UsageError, match="called so"):
        found(f"{BUCKET}/in/*.ndpi")


def test_a_prefix_without_anything_is_a_slide_that_cannot_be_opened() -> None:
    assert found(f"{BUCKET}/nothing") == [("nothing", "nothing")]
    with pytest.raises(UnreadableSourceError, match="no such file"):
        open_source(f"{BUCKET}/nothing")


def test_slides_of_a_prefix_in_an_s3_are_found_and_read(
    bucket: Location, tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    here = write_slide(tmp_path / "a.tif")
    (bucket / "in/a.tif").put(here)
    (slide,) = find_slides([f"{bucket}/in/"]).slides
    with open_source(slide.path) as far, open_source(here) as near:
        assert far.facts.fingerprint == near.facts.fingerprint
        assert far.facts.path == f"{bucket}/in/a.tif"


def test_a_volume_at_a_url_is_fetched_and_keeps_its_name(
    tmp_path: Path, write_volume: Any, nothing_kept: Path
) -> None:
    voxels = np.arange(9 * 8 * 3, dtype=np.int16).reshape(9, 8, 3)
    here = write_volume.nifti(tmp_path / "head.nii.gz", voxels)
    (Location(BUCKET) / "v/head.nii.gz").put(Path(here))
    with open_source(f"{BUCKET}/v/head.nii.gz") as far, open_source(here) as near:
        assert far.facts.fingerprint == near.facts.fingerprint
        assert far.facts.name == near.facts.name == "head"
        assert far.facts.path == f"{BUCKET}/v/head.nii.gz"
        assert str(nothing_kept) not in repr(far.facts)
