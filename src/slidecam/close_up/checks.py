"""What is refused of a close-up before a network is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from slidecam.close_up.methods import USUAL_METHODS, choose_methods
from slidecam.errors import UsageError
from slidecam.explain.catalogue import method_for
from slidecam.files import check_folder, refuse_inputs, refuse_missing
from slidecam.models.bundle import open_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EXPLANATION = ("panel.html", "panel.png", "explanation.json", "maps.npz")
"""What explain writes."""

FAITHFULNESS = ("faithfulness.html", "faithfulness.json", "faithfulness.csv")
"""What faithfulness writes."""


@dataclass(frozen=True)
class CloseUpCall:
    """What a close-up is called with.

    Attributes
    ----------
    source
        A slide, a picture, or a folder of pictures.
    models
        Bundles' folders.
    methods, settings
        As in `CloseUpSpec`.
    marks
        Further files and folders that are read: areas, masks; None where there is none.
    trust
        As in `PredictSpec`.
    """

    source: str | Path
    models: tuple[str | Path, ...]
    methods: tuple[str, ...]
    settings: tuple[str, ...] = ()
    marks: tuple[Path | None, ...] = ()
    trust: bool = False

    def refuse_unclear(self, folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
        """Refuse what cannot be done, before anything is read.

        Parameters
        ----------
        folder, names
            Where the results go, and what they are called.
        overwrite
            Whether results of that name may be replaced.

        Raises
        ------
        UsageError
            If a file is not there, the results would lie in what is read or replace others, a
            setting is none, or a method's package is not installed.
        ExplanationError
            If there is no such method.
        BundleError, CardError
            If a bundle cannot be opened.
        """
        read = [self.source, *filter(None, self.marks)]
        refuse_missing(self.source)
        refuse_existing(folder, names, overwrite=overwrite)
        refuse_inputs([folder], read)
        # What the usual methods are, the models say, and settings may be theirs.
        if USUAL_METHODS not in self.methods:
            choose_methods(self.methods, self.settings)
        for name in self.methods:
            if name != USUAL_METHODS:
                method_for(name).refuse_absent()
        for model in self.models:
            open_bundle(model, trust=self.trust)


def refuse_existing(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Refuse to replace an earlier result unless that is wanted; UsageError."""
    check_folder(folder)
    for name in names:
        if (folder / name).exists() and not overwrite:
            problem = f"the result exists already: {folder / name}."
            raise UsageError(problem, "Pass --overwrite to replace it, or another --out.")
