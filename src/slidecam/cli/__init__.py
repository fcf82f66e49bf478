"""The command line: parses, calls the pipeline, draws progress; no logic of its own."""

from slidecam.cli.app import main

__all__ = ["main"]
