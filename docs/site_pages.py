"""What the site's pages have from elsewhere: commands, outputs, schemas, and files of the tree.

A page holds a mark where such a part belongs; the part itself has its one home in the code, or in
the file that is named:

    <!-- made: commands -->
    <!-- file: training/README.md -->

MkDocs calls `on_page_markdown` and `on_files` while it builds (`mkdocs.yml` names this module).
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import numpy as np
import typer
from numpy.typing import NDArray
from pydantic import TypeAdapter
from typer.core import TyperArgument

import slidecam
from slidecam import events
from slidecam.cli.app import app
from slidecam.errors import SlidecamError
from slidecam.events import COUNTS, BatchDone, Error, Event, Stopped
from slidecam.extras import EXTRAS
from slidecam.models.card import CardKeys
from slidecam.runs.outputs import OUTPUT_TABLE
from slidecam.runs.record_faults import RULES
from slidecam.server.job_requests import request_schema
from slidecam.settings import strict
from slidecam.steps import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DOCS = Path(__file__).parent
ROOT = DOCS.parent

MARK = re.compile(r"^<!-- (made|file): (\S+) -->$", re.MULTILINE)
LINK = re.compile(r"(?<!`)(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
ELSEWHERE = ("http:", "https:", "mailto:", "#")
MEASURED = {"benchmarks/RESULTS.md": "make bench"}
"""Files that a command of ours writes, and that need not be there."""

PRINTED = ROOT / "build" / "notebooks"
"""What the tutorials printed when a test ran them, block by block; it need not be there."""

LISTED = re.compile(r"<list\[(\w+)\]>")
"""How Typer names the type of what may be repeated."""

PIPE = "\\|"
"""A bar that ends no cell, outside of code."""

FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:  # noqa: ANN401  (MkDocs')
    """Return a page with all that its marks stand for."""
    return filled(markdown, page.file.src_uri)


def on_files(files: Any, *, config: Any) -> Any:  # noqa: ANN401  (MkDocs')
    """Add what is downloaded: the schemas, and the tutorials as notebooks."""
    from mkdocs.structure.files import File  # noqa: PLC0415  (the tests have no MkDocs)

    for place, text in downloads().items():
        files.append(File.generated(config, place, content=text))
    return files


def filled(markdown: str, uri: str) -> str:
    """Return the text of a page of the site, given what its file in ``docs`` says.

    Parameters
    ----------
    markdown
        With marks.
    uri
        The page's place below ``docs``.
    """

    def part(mark: re.Match[str]) -> str:
        kind, name = mark.groups()
        if kind == "made":
            return MADE[name]()
        return taken_along(name, uri)

    return MARK.sub(part, markdown)


@cache
def homes() -> Mapping[str, str]:
    """Return the page of each file of the tree that a page takes along, both from their roots."""
    found = {}
    for path in sorted(DOCS.rglob("*.md")):
        for kind, name in MARK.findall(path.read_text("utf-8")):
            if kind == "file":
                found[name] = path.relative_to(DOCS).as_posix()
    return found


def taken_along(name: str, uri: str) -> str:
    """Return a file of the tree as a page's text, its links leading where they led.

    What is not on the site is named in place of a link: the tree has no public address yet.
    """

    def led(link: re.Match[str]) -> str:
        picture, words, target = link.groups()
        if target.startswith(ELSEWHERE):
            return link[0]
        path, _, anchor = target.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
        page = homes().get(place, place.removeprefix("docs/"))
        if not place.startswith("docs/") and place not in homes():
            return f"{words} (`{place}`)"
        fragment = f"#{anchor}" if anchor else ""
        return f"{picture}[{words}]({os.path.relpath(page, posixpath.dirname(uri))}{fragment})"

    path = ROOT / name
    if name in MEASURED and not path.is_file():
        return f"`{MEASURED[name]}` writes `{name}`; it has not been run in this tree."
    return LINK.sub(led, path.read_text("utf-8"))


def commands_page() -> str:
    """Return all commands with their options, as ``--help`` has them."""
    group: Any = typer.main.get_command(app)
    parts = []
    for name, command in group.commands.items():
        context = command.make_context(name, [], resilient_parsing=True)
        parts.append(_command_text(name, command, context))
    return "\n".join(parts)


def _command_text(name: str, command: Any, context: Any) -> str:  # noqa: ANN401  (Typer's)
    arguments, options = [], []
    for each in command.params:
        record = each.get_help_record(context)
        if record is not None and isinstance(each, TyperArgument):
            arguments.append(record)
        elif record is not None:
            options.append(record)
    lines = [f"## {name}", "", _plain(command.help or ""), ""]
    for kind, records in {"argument": arguments, "option": options}.items():
        if records:
            lines += [f"| {kind} | |", "|---|---|", *map(_help_row, records), ""]
    return "\n".join(lines)


def _help_row(record: tuple[str, str]) -> str:
    names, words = record
    names = LISTED.sub(r"<\1>…", names)
    return f"| `{names}` | {_plain(words).replace('|', PIPE)} |"


def _plain(text: str) -> str:
    """Return the text of a help without what Rich reads in it."""
    return text.replace("\\[", "[").replace("<", "&lt;").strip()


def outputs_table() -> str:
    """Return every output of `predict`, and of what it is."""
    rows = ["| file | of | where none is named | what it is |", "|---|---|---|---|"]
    for row in OUTPUT_TABLE.own:
        kinds = " and ".join(f"{kind}s" for kind in row.kinds)
        rows.append(f"| `{row.name}` | {kinds} | {_written(row)} | {row.help} |")
    return "\n".join(rows)


def _written(row: Any) -> str:  # noqa: ANN401  (an Output)
    if row.wanted:
        return "where it is of use"
    if row.default:
        return "written"
    return f"left out; `--outputs default,{row.name}`"


def extras_table() -> str:
    """Return every extra for users, what it is for, and what it brings."""
    rows = ["| extra | what it is for | brings |", "|---|---|---|"]
    for name, extra in EXTRAS.items():
        packages = ", ".join(sorted(extra.packages.values()))
        rows.append(f"| `{name}` | {extra.help} | {packages} |")
    return "\n".join(rows)


def errors_table() -> str:
    """Return every error with what the doors make of it."""
    rows = ["| error | exit code | HTTP | what is wrong |", "|---|---|---|---|"]
    for kind in _below(SlidecamError):
        code = 2 if kind.usage else 1
        meaning = (kind.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        rows.append(f"| `{kind.__name__}` | {code} | {kind.status} | {meaning} |")
    return "\n".join(rows)


def _below(kind: type[SlidecamError]) -> Iterator[type[SlidecamError]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("slidecam.errors"):
            yield child
            yield from _below(child)


def python_page() -> str:
    """Return what mkdocstrings makes the reference of: each public name where it is defined."""
    homes_by_name = slidecam._ROOMS  # noqa: SLF001  (the one list of public names)
    return "\n\n".join(f"::: slidecam.{room}.{name}" for name, room in homes_by_name.items())


def card_schema() -> dict[str, Any]:
    """Return the JSON schema of ``card.json``."""
    return {**TypeAdapter(CardKeys).json_schema(), "title": "card.json"}


def run_schema() -> dict[str, Any]:
    """Return the JSON schema of ``run.json``, of the rules that it is read by."""
    schema: dict[str, Any] = {"title": "run.json", "type": "object", "properties": {}}
    for rule in RULES:
        *parents, name = rule.key.split(".")
        table = schema
        for parent in parents:
            table = table["properties"][parent]
            table = table.get("items", table)
            table = next((each for each in table.get("anyOf", ()) if "type" in each), table)
            table.setdefault("properties", {})
        table["properties"][name] = TypeAdapter(strict(rule.kind)).json_schema()
        if rule.needed:
            table.setdefault("required", []).append(name)
    return schema


LINES: tuple[Any, ...] = (*get_args(Event), Step, Error, Stopped)
"""What is printed while a command works, and where it ends otherwise than well."""

RESULTS = {
    "Trained": "train",
    "LearningRates": "train --lr-range",
    "Swept": "train, of several values",
    "FineTuned": "fine-tune",
    "Explained": "explain",
    "Gathered": "gather",
    "Exported": "export --to qupath",
    "Drawn": "figure",
    "Opened": "open",
    "Serving": "serve",
}
"""The last lines of commands that are named as events are, each with its command."""


@cache
def event_schema() -> dict[str, Any]:
    """Return the JSON schema of a line that ``--json`` prints for what happens."""
    kinds = list(map(_line_of, LINES))
    kinds += [_closed(name, {}, [], more=True) for name in RESULTS]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a line of --json",
        "oneOf": kinds,
    }


def _line_of(kind: Any) -> dict[str, Any]:  # noqa: ANN401  (a class of events)
    """Return the schema of a kind's lines, of the fields that are printed of it."""
    names = vars(events) | {"Mapping": Mapping, "NDArray": NDArray, "np": np}
    hints = get_type_hints(kind, names)
    fields = COUNTS if kind is BatchDone else tuple(hints)
    properties = {name: TypeAdapter(hints[name]).json_schema() for name in fields}
    needed = [name for name in fields if (kind, name) != (Error, "traceback")]
    return _closed(kind.__name__, properties, needed)


def _closed(
    name: str, properties: Mapping[str, Any], needed: Sequence[str], *, more: bool = False
) -> dict[str, Any]:
    own = {"event": {"const": name}, **properties, "time": {"type": "string"}}
    return {
        "title": name,
        "type": "object",
        "properties": own,
        "required": ["event", *needed, "time"],
        "additionalProperties": more,
    }


def events_table() -> str:
    """Return the fields of every line that ``--json`` prints for what happens."""
    rows = ["| `event` | fields | what it says |", "|---|---|---|"]
    docs = {kind.__name__: kind.__doc__ for kind in LINES}
    for line in event_schema()["oneOf"]:
        name = line["title"]
        if name in RESULTS:
            words = f"the result of `slidecam {RESULTS[name]}`"
            rows.append(f"| `{name}` | as the result has them | {words} |")
            continue
        fields = []
        for key, each in line["properties"].items():
            if key not in {"event", "time"}:
                fields.append(f"`{key}`: {_type_words(each)}")
        said = (docs[name] or "").partition("\n")[0]
        rows.append(f"| `{name}` | {'; '.join(fields)} | {said} |")
    return "\n".join(rows)


def run_table() -> str:
    """Return the keys of ``run.json`` that are read, with their types."""
    rows = ["| key | type | always there |", "|---|---|---|"]
    for rule in RULES:
        schema = TypeAdapter(strict(rule.kind)).json_schema()
        rows.append(f"| `{rule.key}` | {_type_words(schema)} | {'yes' if rule.needed else ''} |")
    return "\n".join(rows)


def card_table() -> str:
    """Return the keys of ``card.json`` with their types."""
    schema = card_schema()
    rows = ["| key | type | needed |", "|---|---|---|"]
    for name, each in schema["properties"].items():
        needed = "yes" if name in schema["required"] else ""
        rows.append(f"| `{name}` | {_type_words(each)} | {needed} |")
    return "\n".join(rows)


def _type_words(schema: Mapping[str, Any]) -> str:
    """Return a schema's type in a few words."""
    if "anyOf" in schema:
        return " or ".join(_type_words(each) for each in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "$ref" in schema:
        return "object"
    if "prefixItems" in schema:
        return f"list of {len(schema['prefixItems'])}"
    if schema.get("type") == "array":
        return f"list of {_type_words(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


MADE = {
    "commands": commands_page,
    "outputs": outputs_table,
    "errors": errors_table,
    "extras": extras_table,
    "python": python_page,
    "card": card_table,
    "events": events_table,
    "run": run_table,
}
"""What a mark ``made`` stands for."""


def downloads() -> dict[str, str]:
    """Return the text of each file that pages offer, by its place on the site."""
    found = {
        "reference/card.schema.json": _json(card_schema()),
        "reference/run.schema.json": _json(run_schema()),
        "reference/events.schema.json": _json(event_schema()),
        "reference/job.schema.json": _json(request_schema()),
    }
    for path in sorted((DOCS / "tutorials").glob("*.md")):
        text = path.read_text("utf-8")
        if FENCED.search(text):
            found[f"tutorials/{path.stem}.ipynb"] = _json(notebook(text, printed_by(path.stem)))
    return found


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def printed_by(tutorial: str) -> list[str]:
    """Return what a tutorial's blocks printed; nothing where it was not run in this tree."""
    path = PRINTED / f"{tutorial}.json"
    if not path.is_file():
        return []
    said: list[str] = json.loads(path.read_text("utf-8"))
    return said


def notebook(markdown: str, printed: Sequence[str] = ()) -> dict[str, Any]:
    """Return a tutorial as a Jupyter notebook (nbformat 4.4): text, and a cell for each block.

    Parameters
    ----------
    markdown
        The tutorial.
    printed
        What each block printed; where it is of another number of blocks, it is left out.
    """
    cells = []
    end = 0
    blocks = list(FENCED.finditer(markdown))
    known = dict(enumerate(printed)) if len(printed) == len(blocks) else {}
    for number, block in enumerate(blocks):
        cells += _text_cell(markdown[end : block.start()])
        language, code = block.groups()
        if language == "sh":
            code = "".join(f"!{line}\n" for line in code.replace("\\\n", " ").splitlines())
        cells.append(_cell("code", code) | _outputs(number, known.get(number)))
        end = block.end()
    cells += _text_cell(markdown[end:])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"nbformat": 4, "nbformat_minor": 4, "metadata": {"kernelspec": kernel}, "cells": cells}


def _outputs(number: int, printed: str | None) -> dict[str, Any]:
    if printed is None:
        return {"outputs": [], "execution_count": None}
    stream = {"output_type": "stream", "name": "stdout"}
    outputs = [{**stream, "text": printed.splitlines(keepends=True)}] if printed else []
    return {"outputs": outputs, "execution_count": number + 1}


def _text_cell(text: str) -> list[dict[str, Any]]:
    if not text.strip():
        return []
    return [_cell("markdown", text.strip())]


def _cell(kind: str, text: str) -> dict[str, Any]:
    lines = text.rstrip("\n").splitlines(keepends=True)
    return {"cell_type": kind, "metadata": {}, "source": lines}
