"""``python -m slidecam`` is the command line."""

from slidecam.cli import main

main()
