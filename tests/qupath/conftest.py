"""A desk with a QuPath that is none.

One JVM, a real Groovy 4, our scripts and the extension's jar beside them, small stand-ins of
QuPath's classes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import build_extension
import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "qupath-scripts"
RUNTIME = ROOT / ".groovy"
AT_ONCE = Path(__file__).parent / "atonce"
"""JavaFX's `Platform` without a screen."""

JARS = (
    "groovy/lib/groovy-4*.jar",
    "slf4j-api-*.jar",
    "logback-classic-*.jar",
    "logback-core-*.jar",
)


@dataclass(frozen=True)
class Ran:
    """What became of a script: what it threw (class and words, else None), and what it logged."""

    kind: str | None
    problem: str | None
    log: tuple[str, ...]


@dataclass(frozen=True)
class Desk:
    """The JVM; one image is open at a time."""

    process: subprocess.Popen[str]
    scripts: Path

    def ask(self, what: str, **asked: Any) -> dict[str, Any]:
        """Send one request and return its answer."""
        to, back = self._pipes()
        to.write(json.dumps({"do": what, **asked}) + "\n")
        to.flush()
        line = back.readline()
        assert line, "the JVM has ended"
        answer: dict[str, Any] = json.loads(line)
        assert "broken" not in answer, answer
        return answer

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        return self.process.stdin, self.process.stdout

    def open(self, slide: Path | str, size: tuple[int, int], **more: Any) -> None:
        """Open an image of half a µm per pixel as QuPath would show it."""
        uri = slide.resolve().as_uri() if isinstance(slide, Path) else slide
        builder = more.pop("builder", {"builderType": "uri", "uri": uri})
        image = {
            "uri": uri,
            "width": size[0],
            "height": size[1],
            "mpp": more.pop("mpp", 0.5),
            "builder": builder,
        }
        self.ask("open", image=image, **more)

    def run(self, script: str, *args: str, **more: Any) -> Ran:
        """Run the script whose name begins so."""
        (path,) = self.scripts.glob(f"{script}*.groovy")
        answer = self.ask("run", script=str(path), args=list(args), **more)
        return Ran(answer["kind"], answer["problem"], tuple(answer["log"]))

    def done(self, script: str, *args: str, **more: Any) -> Ran:
        """Run a script that must not fail."""
        ran = self.run(script, *args, **more)
        assert ran.problem is None, (ran.problem, ran.log)
        return ran

    def look(self) -> dict[str, Any]:
        """Return everything that is on the image and the viewer."""
        return self.ask("look")

    def tiles(self) -> list[dict[str, Any]]:
        """Return the tiles on the image."""
        return [each for each in self.look()["objects"] if each["kind"] == "tile"]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the extension's jar, beside the folder ``standins`` with QuPath's compiled signatures.

    Skip where a JDK or a library is absent, unless ``SLIDECAM_NEEDS_GROOVY`` says that they are
    needed. Several workers build it once.
    """
    root = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        root = root.parent
    folder = root / "extension"
    try:
        with FileLock(root / "extension.lock"):
            known = sorted(folder.glob("slidecam-qupath-*.jar"))
            return known[0] if known else build_extension.build(folder)
    except build_extension.MissingPartError as error:
        absent(str(error))
        raise


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, built: Path) -> Iterator[Desk]:
    """Return a desk with the scripts in a folder and the extension's jar beside them.

    Skip where Java or a jar is absent, unless ``SLIDECAM_NEEDS_GROOVY`` says that they are needed.
    """
    scripts = tmp_path_factory.mktemp("scripts")
    for path in (*SCRIPTS.glob("*.groovy"), built):
        shutil.copy(path, scripts)
    at_once = tmp_path_factory.mktemp("atonce") / "classes"
    build_extension.compile_java(AT_ONCE, at_once, [])
    command = _groovy(at_once, built.parent / "standins")
    here = Path(__file__).parent
    with subprocess.Popen(  # noqa: S603  (our own command)
        [
            *command,
            str(here / "Start.groovy"),
            str(here / "Desk.groovy"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        yield Desk(process, scripts)
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="session")
def jvm_path() -> Callable[..., str]:
    """Return `class_path`."""
    return class_path


@pytest.fixture(scope="session")
def groovy(built: Path) -> list[str]:
    """Return the command of a Groovy that knows the extension and the signatures of QuPath."""
    return _groovy(built, built.parent / "standins")


def _groovy(*classes: Path) -> list[str]:
    java = shutil.which("java") or absent("there is no java on the PATH")
    options = ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true"]
    return [java, *options, "-cp", class_path(*classes), "groovy.ui.GroovyMain"]


def class_path(*first: Path) -> str:
    """Return what a JVM of the tests loads: these, a real Groovy, and the extension's libraries."""
    jars = [next(iter(sorted(RUNTIME.glob(pattern))), None) for pattern in JARS]
    named = [
        jars[place] or absent(f"{RUNTIME / JARS[place]} is absent: make groovy")
        for place in range(len(JARS))
    ]
    return os.pathsep.join(map(str, [*first, *named, *build_extension.libraries()]))


def absent(what: str) -> str:
    """Skip what needs a part that is not there, or fail where it is required."""
    if os.environ.get("SLIDECAM_NEEDS_GROOVY"):
        pytest.fail(what)
    pytest.skip(what)
