"""QuPath projects: images in the layout that QuPath 0.7.0 writes, and what is left out of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from slidecam.errors import ShownSizeError, UsageError
from slidecam.geometry import Box, Size
from slidecam.sources import shown_corner
from slidecam.sources.discovery import find_slides
from slidecam.sources.names import FindSpec
from slidecam.sources.qupath import read_project

if TYPE_CHECKING:
    from pathlib import Path


def image(
    path: Path | str, name: str = "an image", um: float | None = 0.25, **changes: Any
) -> dict[str, Any]:
    side = {"value": 1.0, "unit": "px"} if um is None else {"value": um, "unit": "µm"}
    metadata = {
        "name": name,
        "width": 400,
        "height": 300,
        "pixelCalibration": {"pixelWidth": side, "pixelHeight": side},
    }
    uri = path if isinstance(path, str) else path.as_uri()
    return {
        "serverBuilder": {
            "builderType": "uri",
            "uri": uri,
            "args": [],
            "metadata": metadata,
            **changes,
        },
        "entryID": 1,
        "imageName": name,
        "metadata": {},
        "tags": [],
    }


def write_project(path: Path, *images: dict[str, Any], saved_at: Path | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "version": "0.7.0",
        "uri": (saved_at or path).as_uri(),
        "lastID": len(images),
        "images": list(images),
    }
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_images_are_found_with_what_the_project_knows_of_them(tmp_path: Path) -> None:
    slide = tmp_path / "größe 1.svs"
    slide.touch()
    found = find_slides([write_project(tmp_path / "project.qpproj", image(slide))])
    assert [(each.name, each.path) for each in found.slides] == [("größe 1", str(slide))]
    assert found.spacings == {"größe 1": 0.25}
    assert found.shown == {"größe 1": Size(400, 300)}
    assert found.ignored == ()


def test_a_project_is_read_and_never_written(tmp_path: Path) -> None:
    project = write_project(tmp_path / "project.qpproj", image(tmp_path / "a.svs"))
    before = project.read_bytes(), project.stat().st_mtime_ns, sorted(tmp_path.iterdir())
    read_project(project)
    assert (project.read_bytes(), project.stat().st_mtime_ns, sorted(tmp_path.iterdir())) == before


def test_pixels_without_a_size_say_no_spacing(tmp_path: Path) -> None:
    (found,) = read_project(
        write_project(tmp_path / "p.qpproj", image(tmp_path / "a.svs", um=None))
    ).images
    assert found.mpp is None


def test_builders_that_change_colours_alone_are_walked_through(tmp_path: Path) -> None:
    inner = image(tmp_path / "a.svs")["serverBuilder"]
    outer = image(
        "", builderType="pyramidize", builder={"builderType": "color_deconvolved", "builder": inner}
    )
    (found,) = read_project(write_project(tmp_path / "p.qpproj", outer)).images
    assert found.path == tmp_path / "a.svs"
    assert found.shown == Size(400, 300)


@pytest.mark.parametrize(
    "kind", ["rotated", "cropped", "affine", "flipped", "sparse", "of tomorrow"]
)
def test_images_in_another_frame_are_left_out_with_a_word(tmp_path: Path, kind: str) -> None:
    inner = image(tmp_path / "a.svs")["serverBuilder"]
    moved = image(
        "", "turned", builderType=kind, **({"builder": inner} if kind != "of tomorrow" else {})
    )
    project = read_project(write_project(tmp_path / "p.qpproj", moved, image(tmp_path / "b.svs")))
    assert [each.path.name for each in project.images] == ["b.svs"]
    assert "turned" in project.left_out[0]
    assert kind in project.left_out[0]


def test_images_in_no_file_and_pictures_that_are_there_already_are_left_out_with_a_word(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.svs"
    entries = (
        image("https://host/slide", "far"),
        image(path, "first", args=["--series", "0"]),
        image(path, "again"),
    )
    project = read_project(write_project(tmp_path / "p.qpproj", *entries))
    assert [each.name for each in project.images] == ["first"]
    assert "https://host/slide" in project.left_out[0]
    assert "again is left out: its file is that of first" in project.left_out[1]


def test_the_pictures_of_a_file_are_slides_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    path.touch()
    entries = (
        image(path, "left", args=["--series", "0"]),
        image(path, "right", um=0.5, args=["--no-flatten", "--series", "2"]),
    )
    found = find_slides([write_project(tmp_path / "p.qpproj", *entries)])
    assert [(each.name, each.image) for each in found.slides] == [
        ("a.ome", None),
        ("a.ome-image3", "3"),
    ]
    assert found.spacings == {"a.ome": 0.25, "a.ome-image3": 0.5}
    assert found.ignored == ("p.qpproj: right is series 2, from 0: image 3 of a.ome.tif is read.",)


def test_an_image_of_a_project_that_is_excluded_is_left_out(tmp_path: Path) -> None:
    for name in ("a.svs", "b.svs"):
        (tmp_path / name).touch()
    entries = (image(tmp_path / "a.svs"), image(tmp_path / "b.svs"))
    project = write_project(tmp_path / "p.qpproj", *entries)
    found = find_slides([project], FindSpec(exclude=("b*",)))
    assert found.shown == {"a": Size(400, 300)}


def test_slides_that_moved_with_their_project_are_found(tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    (now / "slides").mkdir(parents=True)
    (now / "slides" / "a.svs").touch()
    entry = image(before / "slides" / "a.svs")
    project = write_project(
        now / "qupath" / "p.qpproj", entry, saved_at=before / "qupath" / "p.qpproj"
    )
    (found,) = read_project(project).images
    assert found.path == now.resolve() / "slides" / "a.svs"


def test_a_slide_that_is_nowhere_keeps_the_path_that_the_project_says(tmp_path: Path) -> None:
    (found,) = read_project(
        write_project(tmp_path / "p.qpproj", image(tmp_path / "gone.svs"))
    ).images
    assert found.path == tmp_path / "gone.svs"


@pytest.mark.parametrize("content", ["", "[]", '{"images": 3}', '{"images": [{}]}', "[" * 100_000])
def test_what_is_no_project_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "p.qpproj"
    path.write_text(content)
    with pytest.raises(UsageError, match="no QuPath project"):
        find_slides([path])


WHOLE = Size(700, 500)
SCANNED = Box(100, 60, 500, 400)


@pytest.mark.parametrize(
    ("bounds", "shown", "corner"),
    [
        (None, None, (0, 0)),
        (None, WHOLE, (0, 0)),
        (SCANNED, None, (100, 60)),
        (SCANNED, Size(500, 400), (100, 60)),
        (SCANNED, WHOLE, (0, 0)),
        # QuPath names its crop in the path only where both sides differ, and crops all the same.
        (Box(0, 60, 700, 400), Size(700, 400), (0, 60)),
    ],
)
def test_the_size_tells_a_crop_to_the_bounds_from_the_whole_slide(
    bounds: Box | None, shown: Size | None, corner: tuple[int, int]
) -> None:
    assert shown_corner("a.mrxs", WHOLE, bounds, shown) == corner


@pytest.mark.parametrize(
    ("bounds", "words"), [(None, "700 x 500"), (SCANNED, "500 x 400 px of it were scanned")]
)
def test_any_other_size_is_refused(bounds: Box | None, words: str) -> None:
    with pytest.raises(ShownSizeError, match=words):
        shown_corner("a.mrxs", WHOLE, bounds, Size(350, 250))


def test_a_project_with_an_endless_width_is_refused_in_words(tmp_path: Path) -> None:
    slide = tmp_path / "a.svs"
    slide.touch()
    listed = image(slide)
    listed["serverBuilder"]["metadata"]["width"] = float("inf")
    with pytest.raises(UsageError, match="no QuPath project that can be read"):
        read_project(write_project(tmp_path / "project.qpproj", listed))
