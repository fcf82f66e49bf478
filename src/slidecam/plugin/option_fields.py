"""The form's fields of the options of `predict` that napari has, made from the options themselves.

Range, step, what holds unset and the tool tip are the option's own, as at every other door.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QWidget

from slidecam.explain.catalogue import NO_METHOD, slide_methods
from slidecam.models.backends import BACKENDS
from slidecam.options import options_of
from slidecam.options_page import literal_choices
from slidecam.plugin.class_picker import ClassPicker
from slidecam.plugin.controls import named

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from slidecam.options import NamedOption

DECIMALS = 4
"""Of a number in the form: a tenth of a nanometre per pixel."""

DEVICES = ("auto", "cpu", "cuda")
TITLES = {"mpp": "µm/px", "heatmap_classes": "Heat of", "axis": "Slices"}
"""Of options that are not called in the form as their fields are."""


@dataclass(frozen=True, eq=False)
class OptionField:
    """One option in the form.

    Attributes
    ----------
    title
        What stands before it; empty where it says so itself.
    widget
        What is clicked.
    value
        Returns what is chosen, as `PredictSpec` takes it.
    changed
        Qt's signal of another choice.
    """

    title: str
    widget: QWidget
    value: Callable[[], Any]
    changed: Any


def option_fields() -> dict[str, OptionField]:
    """Return a field for each option that napari has, by the option's name."""
    made: dict[str, OptionField] = {}
    for option in options_of("napari"):
        maker = _OWN_FIELDS.get(option.name, _usual_field)
        made[option.name] = maker(option)
        named(made[option.name].widget, _title(option), option.shown.help)
    return made


def _usual_field(option: NamedOption) -> OptionField:
    choices = literal_choices(option.kind)
    if choices:
        return _choice_field(option, dict(zip(choices, choices, strict=True)), option.default)
    return _number_field(option)


def _number_field(option: NamedOption) -> OptionField:
    """Return a field for a number; where it may be unset, one step below its range says so."""
    shown = option.shown
    if shown.low is None or shown.high is None or shown.step is None:
        raise TypeError(f"{option.name} has no range and step, and napari shows it as a number")
    spin = _Number()
    spin.setDecimals(DECIMALS)
    spin.setSingleStep(shown.step)
    if option.default is None:
        unset = round(shown.low - shown.step, DECIMALS)
        spin.setRange(unset, shown.high)
        spin.setSpecialValueText(shown.unset)
    else:
        unset = None
        spin.setRange(shown.low, shown.high)
        spin.setValue(option.default)

    def value() -> float | None:
        chosen = float(spin.value())
        if chosen == unset:
            return None
        return chosen

    return OptionField(_title(option), spin, value, spin.valueChanged)


class _Number(QDoubleSpinBox):
    def textFromValue(self, value: float) -> str:  # noqa: N802  (Qt's name)
        """Return a number without the zeros behind it."""
        return str(self.locale().toString(value, "g", DECIMALS + 2))

    def stepBy(self, steps: int) -> None:  # noqa: N802  (Qt's name)
        """Take only whole steps: what lies beyond the last, 0.999 of a tile, has to be typed."""
        if self.minimum() <= self.value() + steps * self.singleStep() <= self.maximum():
            super().stepBy(steps)


AS_MEASURED = "the model's usual ones"
"""What the box of heatmaps says where no method is named."""


def _choice_field(
    option: NamedOption, choices: Mapping[str, str | None], chosen: str | None
) -> OptionField:
    """Return a field for one of some values, each under its title."""
    box = QComboBox()
    for title, value in choices.items():
        box.addItem(title, value)
    box.setCurrentIndex(list(choices.values()).index(chosen))
    return OptionField(_title(option), box, box.currentData, box.currentIndexChanged)


def _heatmap_field(option: NamedOption) -> OptionField:
    choices: dict[str, str | None] = {AS_MEASURED: None}
    for name, method in slide_methods().items():
        choices[method.title] = name
    return _choice_field(option, {**choices, "none": NO_METHOD}, None)


AS_LEARNT = "as the model learnt"
"""What the box of axes says where none is chosen."""


def _axis_field(option: NamedOption) -> OptionField:
    axes = literal_choices(option.kind)
    return _choice_field(option, {AS_LEARNT: None, **dict(zip(axes, axes, strict=True))}, None)


ALL_CLASSES = "all classes"
"""What the box of classes says where none is chosen."""


def _classes_field(option: NamedOption) -> OptionField:
    """Return a field for the class whose heat is painted; the model that is chosen fills it."""
    box = ClassPicker()
    box.fill((ALL_CLASSES,), ALL_CLASSES)

    def value() -> tuple[str, ...]:
        if box.currentIndex() <= 0:
            return ()
        return (box.chosen,)

    return OptionField(_title(option), box, value, box.currentIndexChanged)


def _device_field(option: NamedOption) -> OptionField:
    return _choice_field(option, dict(zip(DEVICES, DEVICES, strict=True)), option.default)


def _backend_field(option: NamedOption) -> OptionField:
    """Return a field for the backends whose packages are installed; others would be refused."""
    here = [name for name, backend in BACKENDS.items() if not backend.absent]
    return _choice_field(option, dict(zip(here, here, strict=True)), option.default)


def _existing_field(_option: NamedOption) -> OptionField:
    """Return a tick: *Run* goes on with a run that lies there, unless it is to begin anew."""
    tick = QCheckBox("begin anew where a run\nlies already")

    def value() -> str:
        if tick.isChecked():
            return "overwrite"
        return "resume"

    return OptionField("", tick, value, tick.toggled)


def _title(option: NamedOption) -> str:
    return TITLES.get(option.name, option.name.capitalize())


_OWN_FIELDS: Mapping[str, Callable[[NamedOption], OptionField]] = {
    "axis": _axis_field,
    "heatmap": _heatmap_field,
    "heatmap_classes": _classes_field,
    "device": _device_field,
    "backend": _backend_field,
    "existing": _existing_field,
}
"""Of options whose type does not say what may be chosen."""
