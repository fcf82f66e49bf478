"""The report is one page that tells what failed first, and no name of a slide can break it."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from zipfile import ZipFile

import pytest
from PIL import Image

from slidecam.errors import UsageError
from slidecam.exchange.cohort import APART
from slidecam.exchange.manifest import (
    Manifest,
    RunFacts,
    SlideReport,
    TileCounts,
    add_to_manifest,
)
from slidecam.pages import picture_uri
from slidecam.reports import report as report_module
from slidecam.reports.report import (
    EMBEDDED,
    PAGED,
    bar_pieces,
    in_words,
    status_counts,
    write_report,
    write_zip,
)
from slidecam.runs.legend import ClassifiedTissue, ClassSummary

if TYPE_CHECKING:
    from pathlib import Path

RUN = RunFacts(
    slidecam="0.1.0",
    bundle="pocket",
    bundle_digest="ab" * 32,
    command={"overlap": 0.5, "inputs": "<a & b>"},
    started=datetime(2026, 11, 21, 10, 0, tzinfo=UTC),
    finished=datetime(2026, 11, 21, 10, 1, 30, tzinfo=UTC),
    exit_code=3,
)
HOSTILE = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


class _Page(HTMLParser):
    """What a browser would make of the page: its tags, links, sources and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.links += [values["href"] or ""] if "href" in values else []
        self.sources += [values["src"] or ""] if "src" in values else []
        self.ids += [values["id"] or ""] if "id" in values else []

    def handle_data(self, data: str) -> None:
        self.words += [data.strip()] if data.strip() else []


def classes(*counts: int) -> tuple[ClassSummary, ...]:
    total = max(sum(counts), 1)
    return tuple(
        ClassSummary(f"class {i}", (i % 256, 0, 0), count, count / total, 0.5)
        for i, count in enumerate(counts)
    )


def done(name: str, **changes: object) -> SlideReport:
    plain: dict[str, object] = {"tiles": TileCounts(10, 0, 5), "classes": classes(7, 3)}
    return SlideReport(name, f"/data/{name}.svs", "done", **(plain | changes))  # type: ignore[arg-type]


def failed(
    name: str, reason: str = "cannot be opened.", remedy: str = "Convert it."
) -> SlideReport:
    return SlideReport(name, f"/data/{name}.svs", "failed", reason=reason, remedy=remedy)


def written(folder: Path, *reports: SlideReport) -> tuple[str, _Page]:
    write_report(Manifest(reports), RUN, folder / "report.html")
    text = (folder / "report.html").read_text(encoding="utf-8")
    return text, _Page(text)


def overview(folder: Path, slide: str) -> dict[str, str]:
    (folder / slide).mkdir()
    Image.new("RGB", (2400, 900), (200, 30, 30)).save(folder / slide / "overview.png")
    return {"overview.png": f"{slide}/overview.png"}


def test_failed_slides_come_first_with_reason_and_remedy(tmp_path: Path) -> None:
    _, page = written(tmp_path, done("good"), failed("bad"))
    words = page.words
    assert words.index("bad") < words.index("good")
    assert "cannot be opened." in words
    assert words[words.index("What to do:") + 1] == "Convert it."


def test_the_page_says_what_model_ran_and_that_it_is_for_research(tmp_path: Path) -> None:
    text, page = written(tmp_path, done("good"))
    assert "pocket" in page.words
    assert "1 min 30 s" in page.words
    assert "2026-11-21 10:00 UTC" in page.words
    assert text.count("Research use only") == 2


def test_no_name_can_break_the_page(tmp_path: Path) -> None:
    hostile = SlideReport(
        HOSTILE,
        HOSTILE,
        "failed",
        tiles=TileCounts(1, 0, 0),
        classes=(ClassSummary(HOSTILE, (1, 2, 3), 1, 1.0, 1.0),),
        outputs={HOSTILE: "javascript:alert(1)"},
        reason=HOSTILE,
        remedy=HOSTILE,
        warnings=(HOSTILE,),
    )
    _, page = written(tmp_path, hostile)
    _, tame = written(
        tmp_path, SlideReport(**{**vars(hostile), "slide": "a", "path": "b", "reason": "c"})
    )
    assert page.tags == tame.tags
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert HOSTILE in page.words
    assert not [link for link in page.links if link.startswith("javascript:")]


def test_the_page_fetches_nothing(tmp_path: Path) -> None:
    text, page = written(tmp_path, done("a", outputs=overview(tmp_path, "a")))
    assert "link" not in page.tags
    assert not re.search(r"https?://|@import|url\(", text)
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)


def test_overviews_are_small_pictures_that_lead_to_the_large_one(tmp_path: Path) -> None:
    _, page = written(tmp_path, done("a b", outputs=overview(tmp_path, "a b")))
    (source,) = page.sources
    with Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as picture:
        assert picture.width == 1100
        assert picture.height == pytest.approx(1100 * 900 / 2400, abs=1)
    assert "a%20b/overview.png" in page.links


def test_a_page_of_many_slides_shows_the_pictures_beside_it(tmp_path: Path) -> None:
    reports = [
        done(f"s{index}", outputs=overview(tmp_path, f"s{index}")) for index in range(EMBEDDED + 1)
    ]
    text, _page = written(tmp_path, *reports)
    assert "data:image" not in text
    assert text.count('loading="lazy" src="s') == EMBEDDED + 1


def test_a_page_remakes_those_pictures_alone_that_were_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [done(name, outputs=overview(tmp_path, name)) for name in "ab"]
    made: list[str] = []

    def counted(path: Path) -> str | None:
        made.append(path.parent.name)
        return picture_uri(path)

    monkeypatch.setattr(report_module, "picture_uri", counted)
    first, _page = written(tmp_path, *reports)
    again, _page = written(tmp_path, *reports)
    assert made == ["a", "b"]
    assert again == first
    Image.new("RGB", (640, 333), (1, 77, 3)).save(tmp_path / "b" / "overview.png")
    changed, _page = written(tmp_path, *reports)
    assert made == ["a", "b", "b"]
    assert changed != first


def test_a_page_made_elsewhere_leaves_nothing_beside_the_slides(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    report = done("a", outputs=overview(folder, "a"))
    before = sorted(path.name for path in folder.rglob("*"))
    write_report(Manifest((report,)), RUN, tmp_path / "report.html", folder)
    assert sorted(path.name for path in folder.rglob("*")) == before


def test_a_picture_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert picture_uri(tmp_path / "broken.png") is None
    assert picture_uri(tmp_path / "absent.png") is None
    _, page = written(tmp_path, done("a", outputs={"overview.png": "broken.png"}))
    assert "img" not in page.tags


def test_every_slide_in_the_table_leads_to_its_place(tmp_path: Path) -> None:
    _, page = written(
        tmp_path, done("a", outputs={"tiles.csv": "a/tiles.csv"}), failed("b"), failed("c")
    )
    anchors = [link[1:] for link in page.links if link.startswith("#")]
    assert len(anchors) == 3
    assert set(anchors) <= set(page.ids)


def test_a_run_without_slides_is_a_page(tmp_path: Path) -> None:
    _, page = written(tmp_path)
    assert "Slide by slide" not in page.words


def test_a_bar_keeps_the_classifiers_order_and_adds_up() -> None:
    pieces = bar_pieces(
        done(
            "a",
            classes=classes(2, 0, 5),
            tiles=TileCounts(10, none_called=3),
            tissue=ClassifiedTissue("µm²", None, 11.0, none_called=4.0),
        )
    )
    assert [(piece.name, piece.count, piece.share) for piece in pieces] == [
        ("class 0", 2, 2 / 7),
        ("class 2", 5, 5 / 7),
        ("none called", 3, 4 / 11),
    ]


def test_of_many_classes_the_rare_ones_share_a_piece() -> None:
    counts = [1, 50, 2, 40, 30, 20, 10, 9, 8, 7, 0, 1]
    pieces = bar_pieces(done("a", classes=classes(*counts), tiles=TileCounts(sum(counts))))
    assert [piece.name for piece in pieces] == [
        *(f"class {i}" for i in (1, 3, 4, 5, 6, 7, 8, 9)),
        "3 other classes",
    ]
    assert sum(piece.count for piece in pieces) == sum(counts)
    assert sum(piece.share for piece in pieces) == pytest.approx(1)


def of_tissue(unit: str, *areas: float) -> dict[str, object]:
    whole = sum(areas)
    rows = tuple(
        ClassSummary(f"class {i}", (i, 0, 0), 5, area / whole, 0.5, area=area)
        for i, area in enumerate(areas)
    )
    return {"classes": rows, "tissue": ClassifiedTissue(unit, None, whole)}


def test_a_page_of_two_models_adds_up_neither_and_is_called_after_neither(tmp_path: Path) -> None:
    other = (ClassSummary("gland", (9, 9, 9), 5, 1.0, 0.5, area=8.0),)
    _text, page = written(
        tmp_path,
        done("a", bundle="pocket", bundle_digest="ab" * 32, **of_tissue("µm²", 30.0, 10.0)),
        done(
            "b",
            bundle="glands",
            bundle_digest="cd" * 32,
            classes=other,
            tissue=ClassifiedTissue("µm²", None, 8.0),
        ),
    )
    words = " ".join(page.words)
    assert "2 models: pocket, glands" in page.words
    assert "pocket (abababababab) class 0 75 % class 1 25 %" in words
    assert "glands (cdcdcdcdcdcd) gland 100 %" in words
    assert APART in words


def test_statuses_that_did_not_happen_are_not_told() -> None:
    assert status_counts([done("a"), failed("b"), failed("c")]) == {"done": 1, "failed": 2}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (59.9, "59.9 s"),
        (60, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_times_are_told_as_people_say_them(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_a_zip_for_a_colleague_has_report_tables_and_pictures_and_no_dead_link(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    outputs = overview(folder, "a") | {"tiles.csv": "a/tiles.csv", "run.zarr": "a/run.zarr"}
    (folder / "a" / "tiles.csv").write_text("minx\n")
    report = done("a", outputs=outputs)
    add_to_manifest(folder / "manifest.json", [report], RUN, lambda _name: True)
    (folder / "slides.csv").write_text("slide\n")
    assert write_zip(folder, tmp_path / "cohort.zip") == 1
    with ZipFile(tmp_path / "cohort.zip") as file:
        names = {name.removeprefix("cohort/") for name in file.namelist()}
        page = _Page(file.read("cohort/report.html").decode())
    assert names == {"report.html", "slides.csv", "manifest.json", "a/tiles.csv", "a/overview.png"}
    links = {link for link in page.links if not link.startswith("#")}
    assert links <= names
    assert "a/tiles.csv" in links


def test_a_zip_takes_no_place_among_results_nor_that_of_another_file(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    add_to_manifest(folder / "manifest.json", [done("a")], RUN, lambda _name: True)
    before = (folder / "manifest.json").read_bytes()
    for inside in (folder / "manifest.json", folder / "cohort.zip"):
        with pytest.raises(UsageError, match="lie in what is read") as refused:
            write_zip(folder, inside)
        assert "--zip" in refused.value.remedy
    slide = tmp_path / "S1.svs"
    slide.write_bytes(b"II*\0 a slide")
    with pytest.raises(UsageError, match="another kind of file"):
        write_zip(folder, slide)
    assert slide.read_bytes() == b"II*\0 a slide"
    assert (folder / "manifest.json").read_bytes() == before
    for _again in range(2):
        assert write_zip(folder, tmp_path / "cohort.zip") == 1


def test_a_page_of_many_slides_holds_them_as_data_that_no_name_breaks(tmp_path: Path) -> None:
    many = [done(f"s{number}", **of_tissue("µm²", 3.0, 1.0)) for number in range(PAGED)]
    hostile = replace(done(HOSTILE, outputs={HOSTILE: "javascript:alert(1)"}), reason=HOSTILE)
    text, page = written(tmp_path, *many, failed("bad"), hostile)
    assert page.tags.count("script") == 2
    assert "<script>alert" not in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])  # type: ignore[index]
    assert [row["slide"] for row in data["slides"]][:2] == ["bad", "s0"]
    assert len(data["slides"]) == PAGED + 2
    assert data["slides"][1]["classes"]["class 0"] == [0.75, 3.0]
    assert data["slides"][-1]["slide"] == HOSTILE
    assert data["slides"][-1]["links"] == [[0, "javascript%3Aalert%281%29"]]


def test_a_page_grows_by_less_than_a_kilobyte_for_a_slide(tmp_path: Path) -> None:
    outputs = {kind: f"a/{kind}" for kind in ("tiles.csv", "tiles.geojson", "overview.png")}
    sizes = []
    for count in (300, 600):
        reports = [done(f"s{n}", outputs=outputs, **of_tissue("µm²", 3.0)) for n in range(count)]
        sizes.append(len(written(tmp_path, *reports)[0]))
    assert (sizes[1] - sizes[0]) / 300 < 1000
