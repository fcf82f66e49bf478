"""Pictures of labels saved as files of their own: passed over by content, and nothing else is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from slidecam.sources import open_source
from slidecam.sources._labels import is_copy
from slidecam.sources.discovery import find_slides

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

APERIO = "Aperio Image Library v11.2.1 \n"


def shade(width: int, height: int, seed: int) -> NDArray[np.uint8]:
    """Return a picture as a camera gives it: large areas, and a little noise."""
    rng = np.random.default_rng(seed)
    areas = rng.integers(20, 235, (height // 20 + 1, width // 20 + 1, 3))
    large = np.kron(areas, np.ones((20, 20, 1), np.int64))[:height, :width]
    noisy: NDArray[np.int64] = large + rng.integers(-3, 4, large.shape)
    return np.asarray(np.clip(noisy, 0, 255), np.uint8)


LABEL, MACRO = shade(190, 230, 1), shade(640, 215, 2)


def page(pixels: NDArray[np.uint8], said: str, **more: Any) -> dict[str, Any]:
    return {"data": pixels, "description": said, "metadata": None, "photometric": "rgb", **more}


def tiff(path: Path, *pages: dict[str, Any]) -> Path:
    with tifffile.TiffWriter(path) as writer:
        for each in pages:
            writer.write(**each)
    return path


def pages_of_label() -> tuple[dict[str, Any], ...]:
    label = page(LABEL, f"{APERIO}label 190x230", subfiletype=1)
    return label, page(MACRO, f"{APERIO}macro 640x215", subfiletype=9)


def aperio(path: Path) -> Path:
    """Write a slide as Aperio's scanners do, with thumbnail, label and macro picture."""
    whole = shade(900, 700, 3)
    said = f"{APERIO}900x700 (128x128) JPEG/RGB Q=70|AppMag = 20|MPP = 0.4990"
    small = page(whole[::4, ::4], f"{APERIO}900x700 -> 225x175 - ")
    return tiff(path, page(whole, said, tile=(128, 128)), small, *pages_of_label())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    aperio(tmp_path / "S01.svs")
    with open_source(tmp_path / "S01.svs") as slide:
        assert {"label", "macro"} <= set(slide.facts.associated)
    return tmp_path


def found(folder: Path) -> tuple[list[str], str]:
    all_of_it = find_slides([folder])
    return [slide.name for slide in all_of_it.slides], " ".join(all_of_it.ignored)


def test_copies_of_a_slides_own_pictures_are_passed_over_by_name(folder: Path) -> None:
    Image.fromarray(LABEL).save(folder / "label_S01.png")
    Image.fromarray(MACRO).save(folder / "S01-macro.jpg", quality=60)
    Image.fromarray(LABEL).save(folder / "S01 (label).tif")
    names, said = found(folder)
    assert names == ["S01"]
    assert "3 files passed over, no slide by its content" in said
    assert "label_S01.png is the label picture of S01.svs" in said
    assert "S01-macro.jpg is the macro picture of S01.svs" in said


def test_pages_that_a_scanners_software_calls_so_are_known_without_their_slide(
    tmp_path: Path, write_slide: Callable[..., Path]
) -> None:
    write_slide(tmp_path / "other.tif")
    tiff(tmp_path / "exported.tif", pages_of_label()[0])
    tiff(tmp_path / "both.tiff", *pages_of_label())
    lens = [(65421, "f", 1, -1.0, False)]
    tiff(tmp_path / "glass.tif", page(MACRO, "", extratags=lens))
    names, said = found(tmp_path)
    assert names == ["other"]
    assert "exported.tif is the label picture of a slide" in said
    assert "both.tiff is the label and macro picture of a slide" in said
    assert "glass.tif is the macro picture of a slide" in said


def test_what_is_but_called_a_label_is_a_slide(folder: Path) -> None:
    Image.fromarray(shade(190, 230, 9)).save(folder / "label_S01.png")
    Image.fromarray(LABEL[:-1]).save(folder / "S01_label.png")
    Image.fromarray(LABEL).save(folder / "label.png")
    aperio(folder / "S01_macro.svs")
    lens = [(65421, "f", 1, 20.0, False)]
    tiff(folder / "fine.tif", page(MACRO, "", extratags=lens))
    (folder / "cut.tif").write_bytes((folder / "S01.svs").read_bytes()[:900])
    names, said = found(folder)
    assert "passed over" not in said
    assert names == ["S01", "S01_label", "S01_macro", "cut", "fine", "label", "label_S01"]


def test_a_picture_that_is_named_itself_is_read(folder: Path) -> None:
    Image.fromarray(LABEL).save(folder / "label_S01.png")
    assert len(find_slides([folder / "label_S01.png"]).slides) == 1


def test_plain_pictures_are_copies_of_nothing() -> None:
    white = np.full((50, 60, 3), 250, np.uint8)
    assert not is_copy(white, white)
    assert not is_copy(LABEL, 255 - LABEL)
    assert is_copy(LABEL, LABEL)


@pytest.mark.shared_data
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("name", ["CMU-1-Small-Region.svs", "fluorescence_DAPI.ndpi"])
def test_exports_of_real_slides_are_passed_over(
    shared_data: Path, tmp_path: Path, name: str, suffix: str
) -> None:
    (tmp_path / name).symlink_to(shared_data / "slides" / name)
    stem = name.rpartition(".")[0]
    with open_source(tmp_path / name) as slide:
        kinds = sorted({"label", "macro"} & set(slide.facts.associated))
        for kind in kinds:
            image = Image.fromarray(slide.associated_image(kind))
            image.save(tmp_path / f"{stem}_{kind}{suffix}")
    names, said = found(tmp_path)
    assert names == [stem]
    assert [f"the {kind} picture of {name}" in said for kind in kinds] == [True] * len(kinds)
