"""The form of the tab that runs a classifier: its fields, and how they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from slidecam.plugin.class_picker import ClassPicker
from slidecam.plugin.cohort_run import CohortRun
from slidecam.plugin.controls import form_layout, named
from slidecam.plugin.option_fields import ALL_CLASSES, option_fields
from slidecam.sources.discovery import sample_folders

if TYPE_CHECKING:
    from slidecam.plugin.option_fields import OptionField
    from slidecam.plugin.slide import SlideFacts
    from slidecam.sources.images import FileImage, FileVolume

TISSUE, VIEW, SHAPES = "Whole tissue", "Tissue in the current view", "Selected shapes"
OF_SLIDES, OF_VOLUMES = ("mpp", "overlap"), ("axis",)
"""Options that mean nothing for the other kind, whose form does not have them."""
PICTURES = "Picture", "Volume"
"""What a file of several has several of: of slides, and of volumes."""
RESULTS = "slidecam-results"
STATUS_HEIGHT = 54
OVERRIDES = "color: #d0342c; font-weight: bold"
"""Look of the word that the user's µm/px are not the file's."""


class ClassifyForm(QWidget):
    """Slide, bundle, region, options; *Run*, *Pause*, *Cancel*, progress and words.

    A µm/px that was typed is of one slide, and comes back with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._spacings: dict[str, float] = {}
        self._spacing_of = ""
        self._own_spacing = ""
        self._is_volume = False
        self._make_fields()
        self._make_controls()
        self._lay_out()
        self.options["mpp"].changed.connect(self._spacing_typed)

    def _make_fields(self) -> None:
        self.slide = _label()
        self.picture = QComboBox()
        self.bundle = QComboBox()
        self.bundle.setEditable(True)
        self.bundle.lineEdit().setPlaceholderText("folder of a model")
        self.bundle.addItems([str(folder / "bundle") for folder in sample_folders()])
        self.bundle.setCurrentIndex(-1)
        self.browse = QPushButton("…")
        self.browse.setMaximumWidth(32)
        self.about = _label("Choose a model.")
        self.about.setTextFormat(Qt.TextFormat.RichText)
        self.region = QComboBox()
        self.region.addItems([TISSUE, VIEW, SHAPES])
        self.options = option_fields()
        self.own = _label()
        self.out = QLineEdit()
        self._name_results()
        named(
            self.picture,
            "Picture",
            "Which of the file's pictures or volumes is shown and classified.",
        )
        named(
            self.bundle,
            "Model",
            "A model's folder, or one that holds several.",
        )
        named(
            self.browse,
            "Choose the model's folder",
            "Choose a folder.",
        )
        named(
            self.region,
            "Region",
            "Which part of the slide is classified.",
        )
        named(
            self.out,
            "Results",
            "The folder below which results are written.",
        )

    def _make_controls(self) -> None:
        self.run = QPushButton("Run")
        self.hold = QPushButton("Pause")
        self.cancel = QPushButton("Cancel")
        named(
            self.run,
            "Run",
            "Classify the slide; go on where a run of it was left.",
        )
        named(
            self.hold,
            "Pause",
            "Wait before the next batch, or go on.",
        )
        named(
            self.cancel,
            "Cancel",
            "Stop before the next batch; what is done stays.",
        )
        self.cohort = CohortRun(self)
        self.progress = QProgressBar()
        named(self.progress, "Progress")
        self.progress.setFormat("%v / %m tiles")
        self.progress.reset()
        self.status = _label()
        self.status.setAlignment(Qt.AlignmentFlag.AlignTop)
        # Room for what is said at the end: Qt makes none for a label that grows by a line.
        self.status.setMinimumHeight(STATUS_HEIGHT)
        self.command = _label()
        self.command.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def _lay_out(self) -> None:
        form = form_layout()
        chosen = QHBoxLayout()
        chosen.addWidget(self.bundle, 1)
        chosen.addWidget(self.browse)
        titled = {name: field for name, field in self.options.items() if field.title}
        untitled = [field for field in self.options.values() if not field.title]
        form.addRow("Slide", self.slide)
        self.picture_of = QLabel()
        form.addRow(self.picture_of, self.picture)
        self.form = form
        # The slide's own, so it stands below it; the others follow in the options' order.
        spacing = titled.pop("mpp")
        form.addRow(spacing.title, spacing.widget)
        form.addRow(self.own)
        form.addRow("Model", chosen)
        form.addRow("Region", self.region)
        self._lay_out_more([*titled.values()])
        buttons = QHBoxLayout()
        for button in (self.run, self.hold, self.cancel):
            buttons.addWidget(button)
        whole = QVBoxLayout(self)
        whole.addLayout(form)
        whole.addWidget(self.about)
        whole.addWidget(self.more)
        whole.addWidget(self.rest)
        for field in untitled:
            whole.addWidget(field.widget)
        whole.addLayout(buttons)
        whole.addWidget(self.cohort.button)
        whole.addWidget(self.progress)
        whole.addWidget(self.status)
        whole.addWidget(self.command)
        whole.addStretch(1)

    def _lay_out_more(self, fields: list[OptionField]) -> None:
        """Lay out what most people leave as it is, below a button that shows it."""
        self.more, self.rest = QPushButton("More options"), QWidget()
        self.more.setCheckable(True)
        named(
            self.more,
            "More options",
            "Show what most people leave as it is.",
        )
        form = self.more_form = form_layout()
        form.setContentsMargins(0, 0, 0, 0)
        self.rest.setLayout(form)
        for field in fields:
            form.addRow(field.title, field.widget)
        form.addRow("Results", self.out)
        self.rest.setVisible(False)
        self.more.toggled.connect(self.rest.setVisible)

    def _name_results(self) -> None:
        """Fill in where results go, where nobody says it.

        An empty path would be wherever napari was started.
        """
        if not self.out.text().strip():
            self.out.setText(str(Path.home() / RESULTS))

    def offer_classes(self, names: tuple[str, ...]) -> None:
        """Offer a model's classes, of one of which heat can be painted; keep the one chosen."""
        box = self.options["heatmap_classes"].widget
        if not isinstance(box, ClassPicker):
            raise TypeError("the classes of heat are no box of classes")
        chosen = box.chosen
        if chosen not in names:
            chosen = ALL_CLASSES
        box.fill((ALL_CLASSES, *names), chosen)

    def offer_pictures(self, facts: SlideFacts | None) -> None:
        """Offer the pictures, or volumes, of a file that has several; one of them is shown."""
        offered: tuple[FileImage | FileVolume, ...] = ()
        if facts is not None:
            offered = (*facts.images, *facts.volumes)
        self.picture.clear()
        self.picture.addItems(list(map(str, offered)))
        self.picture.setCurrentText("".join(str(one) for one in offered if one.chosen))
        self.form.setRowVisible(self.picture, bool(offered))
        self.picture_of.setText(PICTURES[facts is not None and facts.is_volume])

    def show_kind(self, facts: SlideFacts | None) -> None:
        """Show the fields that mean something for what is open: a slide, or a volume."""
        self._is_volume = facts is not None and facts.is_volume
        for field in (self.region, self._spacing_field, self.own):
            self.form.setRowVisible(field, not self._is_volume)
        for name in ("overlap", *OF_VOLUMES):
            self.more_form.setRowVisible(self.options[name].widget, self.is_meant(name))

    def is_meant(self, name: str) -> bool:
        """Whether an option means something for what is open."""
        if self._is_volume:
            return name not in OF_SLIDES
        return name not in OF_VOLUMES

    @property
    def where(self) -> str:
        """Which part is classified; of a volume all of its slices."""
        if self._is_volume:
            return TISSUE
        return str(self.region.currentText())

    def show_spacing(self, facts: SlideFacts | None) -> None:
        """Show what was typed for a slide, beside what its file says."""
        number = self._spacing_field
        self._spacing_of = ""
        if facts is not None:
            self._spacing_of = facts.fingerprint
        number.blockSignals(True)  # noqa: FBT003  (Qt's own)
        number.setValue(self._spacings.get(self._spacing_of, number.minimum()))
        number.blockSignals(False)  # noqa: FBT003
        self._own_spacing = ""
        if facts is not None and not facts.is_volume:
            self._own_spacing = "none"
            if facts.own_spacing is not None:
                self._own_spacing = str(facts.own_spacing)
        self._compare_spacing()

    @property
    def typed_spacings(self) -> dict[str, float]:
        """The µm/px that were typed, by the fingerprints of their slides."""
        unset = self._spacing_field.minimum()
        return {of: value for of, value in self._spacings.items() if value > unset}

    @property
    def _spacing_field(self) -> QDoubleSpinBox:
        field = self.options["mpp"].widget
        if not isinstance(field, QDoubleSpinBox):
            raise TypeError("µm/px is no field of a number")
        return field

    def _spacing_typed(self, value: float) -> None:
        self._spacings[self._spacing_of] = value
        self._compare_spacing()

    def _compare_spacing(self) -> None:
        overrides = self._spacing_field.value() > self._spacing_field.minimum()
        words = look = ""
        if self._own_spacing and overrides:
            words, look = f"overrides the file's {self._own_spacing}", OVERRIDES
        elif self._own_spacing:
            words = f"the file's: {self._own_spacing}"
        self.own.setText(words)
        self.own.setStyleSheet(look)


def _label(text: str = "") -> QLabel:
    return QLabel(text, wordWrap=True)
