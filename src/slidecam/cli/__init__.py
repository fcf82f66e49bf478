"""The command line: parses, calls the pipeline, draws progress; no logic of its own."""

from slidecam.cli import evaluating, explaining, exporting, learning, reading, refining, serving
from slidecam.cli.app import main

__all__ = [
    "evaluating",
    "explaining",
    "exporting",
    "learning",
    "main",
    "reading",
    "refining",
    "serving",
]
