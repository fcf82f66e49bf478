"""Builds the extension for QuPath: ``python qupath-extension/build_extension.py [FOLDER]``.

javac and jar of a JDK 17 or newer, JavaFX, Gson, SLF4J and JTS as Debian packs them; no Gradle and
no network. QuPath's own classes are not needed: ``src/standins`` has the signatures of those that
the extension calls, written by us, which go into no jar.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
LIBRARIES = (Path("/usr/share/openjfx/lib"), Path("/usr/share/java"))
"""Where Debian puts jars; ``SLIDECAM_JARS`` names more folders, before these."""

JAVAFX = ("base", "graphics", "controls", "swing")
NEEDED = ("gson", "slf4j-api", "jts-core")
PACKAGES = "openjdk-17-jdk-headless libopenjfx-java libgoogle-gson-java libslf4j-java libjts-java"


class MissingPartError(Exception):
    """What the build needs is not on this machine; its text says what and how to get it."""


def tool(name: str) -> str:
    """Return a program of the JDK; MissingPartError where there is none."""
    found = shutil.which(name)
    if found is None:
        raise MissingPartError(f"There is no {name} on the PATH: apt-get install {PACKAGES}")
    return found


def libraries() -> list[Path]:
    """Return the jars that the extension is compiled against; MissingPartError."""
    named = [Path(each) for each in os.environ.get("SLIDECAM_JARS", "").split(os.pathsep) if each]
    jars = [_jar((f"javafx.{part}", f"javafx-{part}"), named) for part in JAVAFX]
    return jars + [_jar((name,), named) for name in NEEDED]


def _jar(names: tuple[str, ...], folders: list[Path]) -> Path:
    for folder in (*folders, *LIBRARIES):
        for name in names:
            if (folder / f"{name}.jar").exists():
                return folder / f"{name}.jar"
    raise MissingPartError(f"There is no {names[-1]}.jar: apt-get install {PACKAGES}")


def version() -> str:
    """Return slidecam's version, which is the extension's."""
    with (HERE.parent / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def build(folder: Path = HERE / "build") -> Path:
    """Build and return the jar; ``folder/standins`` holds the compiled signatures beside it.

    Raises
    ------
    MissingPartError
        If there is no JDK or no library.
    CalledProcessError
        If the sources do not compile.
    """
    standins, classes = folder / "standins", folder / "classes"
    for each in (standins, classes):
        shutil.rmtree(each, ignore_errors=True)
    compile_java(HERE / "src" / "standins" / "java", standins, [])
    compile_java(HERE / "src" / "main" / "java", classes, [standins])
    shutil.copytree(HERE / "src" / "main" / "resources", classes, dirs_exist_ok=True)
    shutil.copy(HERE.parent / "LICENSE", classes / "META-INF" / "LICENSE")
    own = classes / "qupath" / "ext" / "slidecam"
    (own / "version.txt").write_text(f"{version()}\n", encoding="ascii")
    manifest = folder / "manifest.txt"
    manifest.write_text(
        f"Implementation-Title: slidecam\nImplementation-Version: {version()}\n", encoding="ascii"
    )
    for old in folder.glob("slidecam-qupath-*.jar"):
        old.unlink()
    jar = folder / f"slidecam-qupath-{version()}.jar"
    _run(tool("jar"), "--create", "--file", jar, "--manifest", manifest, "-C", classes, ".")
    return jar


def compile_java(sources: Path, out: Path, beside: list[Path]) -> None:
    """Compile all sources below a folder against the libraries and the folders ``beside``."""
    out.mkdir(parents=True)
    path = os.pathsep.join(map(str, [*beside, *libraries()]))
    files = sorted(sources.rglob("*.java"))
    options = (
        "--release",
        "17",
        "-encoding",
        "UTF-8",
        "-Xlint:all,-serial,-processing,-try",
        "-Werror",
    )
    _run(tool("javac"), *options, "-cp", path, "-d", out, *files)


def _run(*words: object) -> None:
    subprocess.run(list(map(str, words)), check=True)  # noqa: S603  (the JDK's own programs)


def main() -> None:
    """Build into the folder of the first argument and say where the jar is."""
    try:
        jar = build(*map(Path, sys.argv[1:2]))
    except MissingPartError as error:
        sys.exit(str(error))
    sys.stdout.write(f"{jar}\n")


if __name__ == "__main__":
    main()
