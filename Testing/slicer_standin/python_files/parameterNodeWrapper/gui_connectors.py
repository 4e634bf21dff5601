"""One interface to the widgets that show a parameter: read, write, and a call when the user changed it."""

from __future__ import annotations

import enum
import math
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ctk
import qt
import slicer

from .annotations import (
    Choice,
    Decimals,
    Maximum,
    Minimum,
    SingleStep,
    WithinRange,
    first_of,
    split_annotations,
)

WHOLE_NUMBER_WIDGETS = (qt.QSlider, qt.QSpinBox)
NUMBER_WIDGETS = (
    qt.QDoubleSpinBox,
    ctk.ctkSliderWidget,
    slicer.qMRMLSliderWidget,
    ctk.ctkDoubleSlider,
    ctk.ctkDoubleSpinBox,
    slicer.qMRMLSpinBox,
)
BOUNDED_WIDGETS = (qt.QSlider, ctk.ctkSliderWidget, slicer.qMRMLSliderWidget)
COMBO_BOXES = (qt.QComboBox, ctk.ctkComboBox)


class GuiConnector:
    """A widget whose value is one of its properties."""

    def __init__(
        self, widget: Any, property_name: str, signal: str | None, convert: Callable[[Any], Any]
    ) -> None:
        self._widget, self._property, self._convert = widget, property_name, convert
        self._signal = getattr(widget, signal) if signal else None
        self._callback: Callable[[], None] | None = None

    def widget(self) -> Any:
        return self._widget

    def read(self) -> Any:
        return self._convert(getattr(self._widget, self._property))

    def write(self, value: Any) -> None:
        shown = str(value) if isinstance(value, Path) else value
        if getattr(self._widget, self._property) != shown:
            setattr(self._widget, self._property, shown)

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call at every change; None: no more."""
        was_connected, self._callback = self._callback is not None, callback
        if self._signal is None:
            return
        if callback and not was_connected:
            self._signal.connect(self.changed)
        elif was_connected and not callback:
            self._signal.disconnect(self.changed)

    def changed(self, *_values: Any) -> None:
        if self._callback:
            self._callback()


class ComboBoxConnector(GuiConnector):
    """A combo box that shows these values by these labels."""

    def __init__(self, widget: Any, labels: list[tuple[str, Any]]) -> None:
        super().__init__(widget, "currentIndex", "currentIndexChanged", int)
        self._values = [value for _, value in labels]
        widget.clear()
        for label, _ in labels:
            widget.addItem(label)

    def read(self) -> Any:
        return self._values[self._widget.currentIndex]

    def write(self, value: Any) -> None:
        if value not in self._values:
            raise ValueError(f"Unable to find value {value} in choices {self._values}")
        self._widget.currentIndex = self._values.index(value)


class PlainTextConnector(GuiConnector):
    """A text edit without its formatting."""

    def __init__(self, widget: Any) -> None:
        super().__init__(widget, "plainText", "textChanged", str)


class NodeConnector(GuiConnector):
    """A node selector, limited to the classes of the field."""

    def __init__(self, widget: Any, node_classes: list[type]) -> None:
        super().__init__(widget, "currentNodeID", "currentNodeChanged", str)
        widget.nodeTypes = [node_class.__name__ for node_class in node_classes]

    def read(self) -> Any:
        return self._widget.currentNode()

    def write(self, value: Any) -> None:
        self._widget.setCurrentNode(value)


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """The connector of a widget to a field of an annotated type; RuntimeError where Slicer has none."""
    bare, annotations = split_annotations(datatype)
    connector = _for_simple(widget, bare, annotations) or _for_choices(widget, bare, annotations)
    if connector is None:
        raise RuntimeError(
            f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'."
        )
    return connector


def _for_simple(widget: Any, bare: Any, annotations: list[Any]) -> GuiConnector | None:
    kind = type(widget)
    if bare is bool and kind in (qt.QCheckBox, ctk.ctkCheckBox, qt.QPushButton):
        widget.checkable = True
        return GuiConnector(widget, "checked", "toggled", bool)
    if (bare is int and kind in WHOLE_NUMBER_WIDGETS) or (bare in (int, float) and kind in NUMBER_WIDGETS):
        _limit(widget, bare, annotations)
        return GuiConnector(widget, "value", "valueChanged", bare)
    if bare is str and kind is qt.QLineEdit:
        return GuiConnector(widget, "text", "textChanged", str)
    if bare is str and kind is qt.QLabel:
        return GuiConnector(widget, "text", None, str)
    if bare is str and kind is qt.QTextEdit:
        return PlainTextConnector(widget)
    if bare is Path and kind is ctk.ctkPathLineEdit:
        return GuiConnector(widget, "currentPath", "currentPathChanged", Path)
    if bare is Path and kind is ctk.ctkDirectoryButton:
        return GuiConnector(widget, "directory", "directoryChanged", Path)
    return None


def _for_choices(widget: Any, bare: Any, annotations: list[Any]) -> GuiConnector | None:
    if type(widget) in COMBO_BOXES:
        if isinstance(bare, type) and issubclass(bare, enum.Enum):
            label = getattr(bare, "label", lambda value: value.name)
            return ComboBoxConnector(widget, [(label(value), value) for value in bare])
        choice = first_of(Choice, annotations)
        if choice is None:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        return ComboBoxConnector(widget, [(str(value), value) for value in choice.choices])
    node_classes = _node_classes(bare)
    if node_classes and type(widget) is slicer.qMRMLNodeComboBox:
        return NodeConnector(widget, node_classes)
    return None


def _node_classes(bare: Any) -> list[type]:
    is_union = isinstance(bare, types.UnionType) or typing.get_origin(bare) is typing.Union
    members = [m for m in (typing.get_args(bare) if is_union else (bare,)) if m is not type(None)]
    are_nodes = all(isinstance(m, type) and issubclass(m, slicer.vtkMRMLNode) for m in members)
    return members if are_nodes else []


def _limit(widget: Any, bare: type, annotations: list[Any]) -> None:
    """Give a number widget the bounds, decimals and step of the field."""
    within = first_of(WithinRange, annotations)
    low, high = within or first_of(Minimum, annotations), within or first_of(Maximum, annotations)
    if type(widget) in BOUNDED_WIDGETS and not (low and high):
        raise RuntimeError(
            f"Cannot have a connection to {type(widget).__name__} where the number is unbounded."
        )
    is_whole = type(widget) in WHOLE_NUMBER_WIDGETS
    widget.minimum = low.minimum if low else -(2**31) if is_whole else -math.inf
    widget.maximum = high.maximum if high else 2**31 - 1 if is_whole else math.inf
    decimals, step = first_of(Decimals, annotations), first_of(SingleStep, annotations)
    if not is_whole and type(widget) is not ctk.ctkDoubleSlider and (bare is int or decimals):
        widget.decimals = 0 if bare is int else decimals.value
    if step:
        widget.singleStep = step.value
