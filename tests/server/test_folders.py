"""A client names files under the roots and no others, whatever links and dots are in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from slidecam.errors import UsageError
from slidecam.server.folders import Roots
from slidecam.server.guard import RequestError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """Return a folder with ``in`` and ``out`` and links between them."""
    for name in ("in", "out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.tif").write_bytes(b"x")
    (tmp_path / "in/escape.tif").symlink_to(tmp_path / "out/a.tif")
    (tmp_path / "in/outside").symlink_to(tmp_path / "out", target_is_directory=True)
    (tmp_path / "in/inside.tif").symlink_to(tmp_path / "in/a.tif")
    (tmp_path / "in/loop").symlink_to(tmp_path / "in/loop")
    (tmp_path / "linked").symlink_to(tmp_path / "in", target_is_directory=True)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("out/a.tif", 403),
        ("in/../out/a.tif", 403),
        ("in/escape.tif", 403),
        ("in/outside/a.tif", 403),
        ("in/outside/../a.tif", 200),
        ("in/missing.tif", 404),
        ("in/a.tif", 200),
        ("in/inside.tif", 200),
        ("linked/a.tif", 403),
    ],
)
def test_a_path_is_judged_by_where_it_leads(places: Path, name: str, status: int) -> None:
    roots = Roots.of((places / "in",))
    if status == 200:
        assert roots.existing(f"{places}/{name}").resolve() == (places / "in/a.tif")
        return
    with pytest.raises(RequestError) as refusal:
        roots.existing(f"{places}/{name}")
    assert refusal.value.status == status


def test_a_root_that_is_a_link_is_called_either_way(places: Path) -> None:
    roots = Roots.of((places / "linked",))
    assert roots.existing(str(places / "linked/a.tif")).exists()
    assert roots.existing(str(places / "in/a.tif")).exists()


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("a.tif", 400),
        ("", 400),
        ("/\0", 400),
        ("https://example.org/a.tif", 403),
        ("file:///etc/passwd", 403),
    ],
)
def test_what_is_no_absolute_path_is_refused(places: Path, text: str, status: int) -> None:
    with pytest.raises(RequestError) as refusal:
        Roots.of((places / "in",)).existing(text)
    assert refusal.value.status == status


def test_links_that_lead_nowhere_are_refused(places: Path) -> None:
    with pytest.raises(RequestError):
        Roots.of((places / "in",)).existing(str(places / "in/loop"))


def test_a_root_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder for --root"):
        Roots.of((tmp_path / "missing",))


def test_another_folder_may_be_added_before_it_is_made(tmp_path: Path) -> None:
    roots = Roots.of((tmp_path,)).with_folder(tmp_path.parent / "home")
    assert roots.allowed(str(tmp_path.parent / "home" / "x")).name == "x"
