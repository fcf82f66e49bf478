from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slidecam.errors import SpacingError
from slidecam.geometry import Level, Size, Spacing
from slidecam.sources import SourceFacts, read_spacings, settle_spacing

if TYPE_CHECKING:
    from pathlib import Path


def facts(spacing: Spacing | None) -> SourceFacts:
    return SourceFacts(
        path="slide.svs",
        name="slide",
        reader="openslide",
        format="aperio",
        levels=(Level(0, Size(9, 9), 1.0),),
        spacing=spacing,
        spacing_from="openslide.mpp-x" if spacing else None,
        bounds=None,
        chunk=(Size(9, 9),),
        associated=(),
        fingerprint="f",
    )


def test_the_files_own_spacing_is_taken_with_its_origin() -> None:
    settled = settle_spacing(facts(Spacing(0.25, 0.26)))
    assert settled.spacing == Spacing(0.25, 0.26)
    assert settled.origin == "openslide.mpp-x"
    assert settled.warning is None


@pytest.mark.parametrize("override", [0.5, Spacing(0.5, 0.5), 1])
def test_an_override_wins_over_the_file_and_a_conflict_is_noted(override: Spacing | float) -> None:
    settled = settle_spacing(facts(Spacing(0.25, 0.25)), override)
    assert settled.spacing.x == (override.x if isinstance(override, Spacing) else override)
    assert settled.origin == "override"
    assert settled.warning is not None
    assert "0.25 µm/px" in settled.warning
    assert "openslide.mpp-x" in settled.warning


@pytest.mark.parametrize(
    "own", [None, Spacing(0.25, 0.25), Spacing(0.2625, 0.25), Spacing(264.58, 264.58)]
)
def test_an_override_that_agrees_or_meets_nothing_believable_draws_no_warning(
    own: Spacing | None,
) -> None:
    assert settle_spacing(facts(own), 0.25).warning is None


@given(
    own=st.tuples(st.floats(0.1, 2), st.floats(0.1, 2)),
    off=st.tuples(*[st.one_of(st.floats(-0.049, 0.049), st.floats(0.051, 0.3))] * 2),
)
def test_an_override_is_in_conflict_where_either_axis_is_off_by_more_than_a_twentieth(
    own: tuple[float, float], off: tuple[float, float]
) -> None:
    given_ = Spacing(own[0] * (1 + off[0]), own[1] * (1 + off[1]))
    told = settle_spacing(facts(Spacing(*own)), given_).warning is not None
    assert told == (max(off) > 0.05)


def test_a_missing_spacing_says_what_to_pass() -> None:
    with pytest.raises(SpacingError, match=r"The file says nothing.*slide\.svs.*--mpp X"):
        settle_spacing(facts(None))


@pytest.mark.parametrize("value", [264.58, 1000.0, 0.0499, 20.1])
def test_an_implausible_spacing_is_refused_with_its_value_and_origin(value: float) -> None:
    with pytest.raises(SpacingError, match=rf"{value:.4g} µm/px in openslide\.mpp-x.*--mpp X"):
        settle_spacing(facts(Spacing(value, value)))


@pytest.mark.parametrize("value", [0.0, -1.0, 0.01, 25.0, float("nan"), float("inf")])
def test_an_implausible_override_is_refused_too(value: float) -> None:
    with pytest.raises(SpacingError, match="The override"):
        settle_spacing(facts(Spacing(0.25, 0.25)), value)


@pytest.mark.parametrize("value", [0.05, 20.0])
def test_the_bounds_themselves_are_believed(value: float) -> None:
    assert settle_spacing(facts(Spacing(value, value))).spacing.x == value


def test_one_implausible_axis_is_enough_to_refuse() -> None:
    with pytest.raises(SpacingError, match=r"0\.25 x 100 µm/px"):
        settle_spacing(facts(Spacing(0.25, 100.0)))


def test_a_csv_gives_overrides_by_slide(tmp_path: Path) -> None:
    path = tmp_path / "spacing.csv"
    path.write_text(
        "\ufeffslide,scanner,mpp\nCMU-1.svs,AT2, 0.499 \n\nother,,0.25\n", encoding="utf-8"
    )
    assert read_spacings(path) == {"CMU-1.svs": 0.499, "other": 0.25}


@pytest.mark.parametrize(
    "text",
    [
        "slide;mpp\nCMU-1.svs;0,499\nother;0,25\n",
        "sep=;\nSlide;MPP\nCMU-1.svs;0.499\n;;\nother;0.25\n",
        '"sep=\t"\nslide\tmpp\nCMU-1.svs\t0,499\nother\t0,25\n',
        "\ufeffScanner;SLIDE;Mpp;;\nAT2;C:\\scans\\CMU-1.svs;0,499;;\nAT2;/scans/other;0,25;;\n\n",
        'slide,mpp\nCMU-1.svs,"0,499"\nother,"0,25"\n',
    ],
)
def test_a_table_is_read_as_spreadsheets_leave_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "spacing.csv"
    path.write_text(text, encoding="utf-8")
    assert read_spacings(path) == {"CMU-1.svs": 0.499, "other": 0.25}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slide|mpp\na|1\n", "column mpp and slide is missing"),
        ("name,mpp\na,1\n", "column slide is missing"),
        ("", "column mpp and slide is missing"),
        ("slide,mpp\na,0.5\nb,fast\n", "Line 3 says mpp 'fast'"),
        ("slide,mpp\na,\n", "Line 2 says mpp ''"),
        ("slide,mpp\na\n", "Line 2 says mpp ''"),
        ("slide,mpp\na,500\n", "Line 2 says mpp '500'"),
        ("slide,mpp\na,0,5\n", "Line 2 has more cells than columns"),
        ('slide,mpp\na,"1.000,5"\n', "Line 2 says mpp '1.000,5'"),
        ("sep=;\nslide,mpp\na,1\n", "column mpp and slide is missing"),
        ("slide,mpp\n,0.5\n", "Line 2 names no slide"),
        ("slide,mpp\na,0.5\na,0.25\n", "Line 3 names a again"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "spacing.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SpacingError, match=says) as caught:
        read_spacings(path)
    assert str(path) in str(caught.value)


def test_a_csv_that_cannot_be_read_is_a_spacing_error(tmp_path: Path) -> None:
    with pytest.raises(SpacingError, match="no readable CSV"):
        read_spacings(tmp_path / "nowhere.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\xff")
    with pytest.raises(SpacingError, match="no readable CSV"):
        read_spacings(tmp_path / "binary.csv")
