"""The house keeps its rules: names of the field, one thought a line, modules of a size to read."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import slidecam

ROOT = Path(slidecam.__file__).parent
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

DIALECT = {
    "acquaintance",
    "asked",
    "course",
    "dear",
    "desk",
    "examining",
    "lacks",
    "lesson",
    "material",
    "told",
    "why",
    "witness",
}
"""Words that no pathologist and no engineer looks for, nowhere a name or a part of one."""

LONGEST_MODULE = 400
MOST_MODULES = 399
"""One of them, `models.light_timm`, has to be imported before all that use timm; `exchange.cohort`
is the one home of a cohort's shares, and `cli.cohorts` shows them; `server.served_bundle` knows
when another bundle lies in the folder, `standing` when another file does, `page_links` and
`private_files` who may come in, `punctual` and `callers` who is waited for, `job`, `past_runs`,
`kept_requests` and `run_shelf` what a run is before and after a restart, `places` and `explaining`
what is explained while somebody waits; `prediction.choices` is the one home of what a call chooses
of a slide, for its run and for whoever takes it. Of the plugin's, `ownership` says whose a layer
is, `tools` what a click does, `closing` what becomes of a run with its window, `class_picker` is a
box for 1,000 classes, `classify_form` leaves its tab what it does, `header` opens slides without
napari's question, `remembered` is what a dock knows the next day, `loading` loads torch beside the
window, `colour_bar` says what colours mean, and `controls` are for everybody; `hanging` says which
side of a patient is where, `opening` opens what hangs so, `subjects` says what is explained, and
`close_up_box` is where one says so; `pausing` is what every run can do, `cohort_job` is a run of
several slides without Qt and `cohort_run` its button, `model_choice` reads models beside the
window, `changes_box` shows what two runs call otherwise, and `file_tiles` the tiles of a file.
`_tiff_chain` walks what a library would follow for ever, `recipes.shipped` knows the recipes that
are called by name, and `extras` what need not be installed, with the words for its absence."""
WIDEST = 36
"""Characters of a code line, on average."""

MOST_TERNARIES, MOST_COMPREHENSIONS = 3.2, 23.5
"""In 1,000 lines of code."""

MOST_DOUBLE = 5
"""Comprehensions of two clauses."""


@cache
def trees() -> dict[str, ast.Module]:
    """Return the syntax of every module by its path within the package."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
    }


def code_lines(path: str, tree: ast.Module) -> list[str]:
    """Return a module's lines without blank ones, comments and docstrings."""
    documented: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                documented.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1)
    bare = [line.strip() for number, line in lines if number not in documented]
    return [line for line in bare if line and not line.startswith("#")]


def places(kind: type[ast.AST] | tuple[type[ast.AST], ...]) -> list[tuple[str, ast.AST]]:
    """Return every node of a kind with its module."""
    return [
        (path, node)
        for path, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, kind)
    ]


def names_in(tree: ast.Module) -> set[str]:
    """Return every identifier that a module makes or uses."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.arg | ast.keyword) and node.arg:
            found.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
    return found


def test_no_public_class_has_its_name_twice() -> None:
    homes: defaultdict[str, list[str]] = defaultdict(list)
    for path, node in places(ast.ClassDef):
        assert isinstance(node, ast.ClassDef)
        if not node.name.startswith("_"):
            homes[node.name].append(path)
    twice = {name for name, several in homes.items() if len(several) > 1}
    assert twice == set()


def test_no_ternary_stands_in_a_ternary() -> None:
    nested = []
    for path, node in places(ast.IfExp):
        assert isinstance(node, ast.IfExp)
        if isinstance(node.body, ast.IfExp) or isinstance(node.orelse, ast.IfExp):
            nested.append(f"{path}:{node.lineno}")
    assert nested == []


def test_a_comprehension_holds_one_thought() -> None:
    double, dense = [], []
    for path, node in places(COMPREHENSIONS):
        clauses = node.generators  # type: ignore[attr-defined]
        conditions = sum(len(clause.ifs) for clause in clauses)
        place = f"{path}:{node.lineno}"  # type: ignore[attr-defined]
        if len(clauses) > 1:
            double.append(place)
        if len(clauses) + conditions > 2:
            dense.append(place)
    assert len(double) <= MOST_DOUBLE, double
    assert dense == []


def test_names_are_the_fields() -> None:
    for path, tree in trees().items():
        spoken = {part for name in names_in(tree) for part in name.strip("_").lower().split("_")}
        assert spoken & DIALECT == set(), path


def test_modules_are_few_and_can_be_read_at_a_sitting() -> None:
    lengths = {path: len((ROOT / path).read_text().splitlines()) for path in trees()}
    assert len(lengths) <= MOST_MODULES
    assert {path for path, length in lengths.items() if length > LONGEST_MODULE} == set()


def test_a_line_of_code_holds_one_thought() -> None:
    lines = [line for path, tree in trees().items() for line in code_lines(path, tree)]
    assert sum(map(len, lines)) / len(lines) <= WIDEST
    assert 1000 * len(places(ast.IfExp)) / len(lines) <= MOST_TERNARIES
    assert 1000 * len(places(COMPREHENSIONS)) / len(lines) <= MOST_COMPREHENSIONS
