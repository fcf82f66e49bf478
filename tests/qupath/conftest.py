"""A desk with a QuPath that is none.

One JVM, a real Groovy 4, our scripts, small stand-ins of QuPath's classes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "qupath-scripts"
RUNTIME = ROOT / ".groovy"
LIBRARIES = Path("/usr/share/java")
"""Where Debian puts Gson and JTS, which QuPath brings itself."""

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
        (path,) = SCRIPTS.glob(f"{script}*.groovy")
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
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """Return a desk; skip where Java or a jar is absent.

    Nothing is skipped if ``SLIDECAM_NEEDS_GROOVY`` says that they are needed.
    """
    command = [
        _java(),
        "-Xshare:auto",
        "-XX:TieredStopAtLevel=1",
        "-Djava.awt.headless=true",
        "-cp",
        _class_path(),
    ]
    here, classes = Path(__file__).parent, tmp_path_factory.mktemp("standins")
    with subprocess.Popen(  # noqa: S603  (our own command)
        [
            *command,
            "groovy.ui.GroovyMain",
            str(here / "Start.groovy"),
            str(here / "standins"),
            str(classes),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        yield Desk(process)
        assert process.stdin is not None
        process.stdin.close()


def _java() -> str:
    java = shutil.which("java")
    return java or _absent("there is no java on the PATH")


def _class_path() -> str:
    jars = [next(iter(sorted(RUNTIME.glob(pattern))), None) for pattern in JARS]
    named = [
        jars[place] or _absent(f"{RUNTIME / JARS[place]} is absent: make groovy")
        for place in range(len(JARS))
    ]
    libraries = [LIBRARIES / name for name in ("gson.jar", "jts-core.jar")]
    for path in libraries:
        if not path.exists():
            _absent(f"{path} is absent: apt-get install libgoogle-gson-java libjts-java")
    return os.pathsep.join(map(str, [*named, *libraries]))


def _absent(what: str) -> str:
    if os.environ.get("SLIDECAM_NEEDS_GROOVY"):
        pytest.fail(what)
    pytest.skip(what)
