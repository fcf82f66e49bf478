"""Controls that everybody can use: a name for who hears the window, and no wider than the dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QFormLayout

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

FEWEST = 10
"""Characters of a box's entry that are seen however narrow the dock is."""


def named(widget: QWidget, name: str, tip: str = "") -> None:
    """Give a control a name for screen readers, and a word on what it does.

    A box of choices becomes as narrow as it has to be: its list shows the whole entries.
    """
    widget.setAccessibleName(name)
    if tip:
        widget.setToolTip(tip)
    if isinstance(widget, QComboBox):
        policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        widget.setSizeAdjustPolicy(policy)
        widget.setMinimumContentsLength(FEWEST)


def form_layout() -> QFormLayout:
    """Return a form whose fields fill the dock, below their names where that is narrow."""
    form = QFormLayout()
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    return form
