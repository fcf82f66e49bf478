"""The site's pages: none is left out, and what the code knows stands there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import site_pages
import typer
import yaml

import slidecam
from slidecam import errors
from slidecam.cli.app import app
from slidecam.cli.terminal import EXIT_FAILED, EXIT_PARTLY, EXIT_USAGE
from slidecam.events import Error, as_json
from slidecam.exchange.manifest import SlideReport
from slidecam.exchange.tables import BOX_COLUMNS, slide_rows
from slidecam.extras import EXTRAS
from slidecam.runs.legend import ClassSummary
from slidecam.runs.outputs import OUTPUT_TABLE
from slidecam.runs.slices import COLUMNS
from slidecam.runs.tiles import DISAGREEMENT, PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT, DOCS = site_pages.ROOT, site_pages.DOCS

PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def page(uri: str) -> str:
    """Return a page as the site has it."""
    return site_pages.filled((DOCS / uri).read_text(encoding="utf-8"), uri)


def in_navigation(entry: object) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, list):
        for each in entry:
            yield from in_navigation(each)
    elif isinstance(entry, dict):
        yield from in_navigation(list(entry.values()))


def commands() -> dict[str, Any]:
    found: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return found


def test_every_page_can_be_reached() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(in_navigation(settings["nav"])) == PAGES
    assert settings["strict"] is True


@pytest.mark.parametrize("uri", PAGES)
def test_links_of_a_page_lead_to_pages_and_files(uri: str) -> None:
    offered = site_pages.downloads()
    for _, _, target in site_pages.LINK.findall(page(uri)):
        if target.startswith(site_pages.ELSEWHERE):
            continue
        path = (DOCS / uri).parent / target.partition("#")[0]
        place = path.resolve().relative_to(DOCS).as_posix()
        assert path.is_file() or place in offered, target


@pytest.mark.parametrize("uri", PAGES)
def test_a_page_has_no_mark_left_and_loads_nothing_from_elsewhere(uri: str) -> None:
    text = page(uri)
    assert not site_pages.MARK.search(text)
    assert not re.search(r"!\[[^\]]*\]\(https?:", text)
    assert "<script" not in text


def test_every_command_has_an_entry_with_all_of_its_options() -> None:
    text = page("reference/commands.md")
    for name, command in commands().items():
        entry = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert entry, name
        for option in command.params:
            assert all(each in entry for each in option.opts if each.startswith("--")), name


def test_every_command_is_listed_with_its_kin_in_the_help() -> None:
    assert {name for name, each in commands().items() if each.rich_help_panel is None} == set()


def test_every_output_has_an_entry() -> None:
    text = page("reference/outputs.md")
    assert [row.name for row in OUTPUT_TABLE.own if f"`{row.name}`" not in text] == []


def test_every_extra_has_an_entry_with_what_it_brings() -> None:
    text = page("how-to/extras.md")
    for name, extra in EXTRAS.items():
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` |")]
        assert all(package in row for package in extra.packages.values())


def entries(heading: str) -> str:
    return page("reference/outputs.md").partition(f"## {heading}\n")[2].partition("\n#")[0]


def test_every_column_of_the_tables_has_an_entry() -> None:
    tumour = ClassSummary("tumour", (200, 0, 0), 1, 1.0, 0.5)
    report = SlideReport("a", "a.svs", "done", classes=(tumour,))
    slides = [name.replace("tumour", "<class>") for name in slide_rows([report])[0]]
    tables = {
        "Columns of `tiles.csv`": [*BOX_COLUMNS, f"{PREFIX}<class>", DISAGREEMENT],
        "Columns of `slices.csv`": [*COLUMNS, f"{PREFIX}<class>", DISAGREEMENT],
        "Columns of `slides.csv`": slides,
    }
    for heading, columns in tables.items():
        said = re.findall(r"`([^`]+)`", entries(heading))
        assert [name for name in columns if name not in said] == [], heading


def test_every_line_that_is_named_has_an_entry_and_a_schema() -> None:
    named: set[str] = set()
    for room in ("cli", "learning"):
        for path in (ROOT / "src/slidecam" / room).rglob("*.py"):
            named |= set(re.findall(r'"event": "(\w+)"', path.read_text(encoding="utf-8")))
    assert named == {*site_pages.RESULTS, "Step"}
    kinds = {each["title"]: each for each in site_pages.event_schema()["oneOf"]}
    text = page("reference/events.md")
    assert {name for name in kinds if f"| `{name}` |" not in text} == set()
    assert {"Planned", "Error", "Stopped", *named} <= kinds.keys()
    assert set(kinds["BatchDone"]["properties"]) == {"event", "slide", "done", "total", "time"}
    assert kinds["Finished"]["properties"]["counts"]["type"] == "object"


def test_a_line_that_is_not_as_it_should_be_is_refused_by_the_schema() -> None:
    right = {**as_json(Error("UsageError", "There is none.", "Make one.")), "time": "2026-11-30"}
    jsonschema.validate(right, site_pages.event_schema())
    for change in ({"remedy": 3}, {"event": "Oops"}, {"more": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(right | change, site_pages.event_schema())
    assert "traceback" not in right


def test_the_exit_codes_are_those_of_the_terminal() -> None:
    table = page("reference/commands.md").partition("## Exit codes\n")[2].partition("\n## ")[0]
    codes = {int(code) for code in re.findall(r"^\| (\d) \|", table, re.MULTILINE)}
    assert codes == {0, EXIT_FAILED, EXIT_USAGE, EXIT_PARTLY}


def test_every_error_has_an_entry() -> None:
    text = page("reference/commands.md")
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.SlidecamError):
            assert kind is errors.SlidecamError or f"| `{name}` |" in text


def test_every_variable_of_the_environment_has_an_entry() -> None:
    text = page("reference/environment.md")
    sources = [*(ROOT / "src").rglob("*.py"), *(ROOT / "qupath-extension").rglob("*.java")]
    read = set()
    for path in sources:
        read |= set(re.findall(r'"(SLIDECAM_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    assert len(read) > 4
    assert {name for name in read if f"`{name}`" not in text} == set()


def test_every_public_name_is_in_the_reference_of_python() -> None:
    text = page("reference/python.md")
    listed = set(re.findall(r"^::: slidecam\.[\w.]+\.(\w+)$", text, re.MULTILINE))
    assert listed == set(slidecam.__all__) - {"__version__", "events"}


def test_the_schemas_hold_for_a_card_and_a_record(sample_data: Path) -> None:
    card = json.loads((sample_data / "bundle/card.json").read_text(encoding="utf-8"))
    schema = site_pages.card_schema()
    assert set(schema["required"]) <= set(card)
    assert {key for key in card if key not in schema["properties"]} == set()
    record = site_pages.run_schema()["properties"]
    assert record["input"]["anyOf" if "anyOf" in record["input"] else "type"]
    assert record["spacing"]["anyOf"][0]["properties"]["um_px"]["type"] == "array"
    assert record["written"]["items"]["properties"]["sha256"] == {"type": "string"}


def test_a_file_that_is_taken_along_leads_where_it_led() -> None:
    text = site_pages.taken_along("training/README.md", "reference/recipes.md")
    assert "](../training" not in text
    home = site_pages.taken_along("README.md", "index.md")
    assert "(overview.png)" in home
    assert "(how-to/own-model.md)" in home
    assert "(how-to/contributing.md)" in home
    assert "how to cite (`CITATION.cff`)" in home
