"""CTK's sliders and spin boxes for one number or a range, and Slicer's with units."""

from __future__ import annotations

from typing import Any, ClassVar

from slicer_contract.qt_classes import QtCore, QtWidgets

from .contract_class import contract_class, emit, parent_of

STEPS = 1000
UNLIMITED = 1e300


class NumberBehaviour:
    """A spin box, with a slider beside it where the widget has one, behind the properties of the contract."""

    _has_slider = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._box = QtWidgets.QDoubleSpinBox()
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._slider.setRange(0, STEPS)
        if self._has_slider:
            layout.addWidget(self._slider, 1)
        layout.addWidget(self._box)
        self._box.setDecimals(2)
        self._box.setMaximum(99)
        self._box.valueChanged.connect(self._show_on_slider)
        self._slider.valueChanged.connect(self._take_from_slider)

    def _show_on_slider(self, value: float) -> None:
        span = self._box.maximum - self._box.minimum
        self._slider.blockSignals(True)
        self._slider.setValue(
            round(STEPS * (value - self._box.minimum) / span) if 0 < span < UNLIMITED else 0
        )
        self._slider.blockSignals(False)
        emit(self, "valueChanged", value)
        if "valueIsChanging" in self._signal_signatures:
            emit(self, "valueIsChanging", value)

    def _take_from_slider(self, step: int) -> None:
        span = self._box.maximum - self._box.minimum
        self._box.setValue(self._box.minimum + span * step / STEPS)


def _forward(name: str) -> None:
    """Let the spin box keep a property."""

    def read(self: Any) -> Any:
        return getattr(self._box, name)

    def write(self: Any, value: Any) -> None:
        setattr(self._box, name, value)

    setattr(NumberBehaviour, f"_get_{name}", read)
    setattr(NumberBehaviour, f"_set_{name}", write)


for _name in ("value", "minimum", "maximum", "singleStep", "decimals", "prefix", "suffix", "cleanText"):
    _forward(_name)


class ctkSliderWidget(NumberBehaviour, contract_class("ctkSliderWidget")):
    """A slider with a spin box."""

    _defaults: ClassVar[dict[str, Any]] = {"tracking": True, "spinBoxVisible": True}

    def reset(self) -> None:
        self._box.setValue(0)


class ctkDoubleSlider(NumberBehaviour, contract_class("ctkDoubleSlider")):
    """A slider for numbers that are not whole."""

    _defaults: ClassVar[dict[str, Any]] = {"tracking": True, "orientation": QtCore.Qt.Horizontal}

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._box.hide()


class ctkDoubleSpinBox(NumberBehaviour, contract_class("ctkDoubleSpinBox")):
    """A spin box that knows more about decimals than Qt's."""

    _has_slider = False

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._box.editingFinished.connect(lambda: emit(self, "editingFinished"))

    def _show_on_slider(self, value: float) -> None:
        self.valueChanged[float].emit(value)
        self.valueChanged[str].emit(self._box.text)

    def stepUp(self) -> None:
        self._box.stepUp()

    def stepDown(self) -> None:
        self._box.stepDown()


class RangeBehaviour:
    """Two numbers, the lower never above the higher, both within bounds."""

    _defaults: ClassVar[dict[str, Any]] = {
        "maximum": 99.0,
        "maximumValue": 99.0,
        "singleStep": 1.0,
        "tracking": True,
    }

    def setValues(self, minimum: float, maximum: float) -> None:
        low, high = sorted(min(max(value, self.minimum), self.maximum) for value in (minimum, maximum))
        if (low, high) == (self.minimumValue, self.maximumValue):
            return
        self.__dict__.setdefault("_values", {}).update(minimumValue=float(low), maximumValue=float(high))
        emit(self, "minimumValueChanged", low)
        emit(self, "maximumValueChanged", high)
        emit(self, "valuesChanged", low, high)

    def setRange(self, minimum: float, maximum: float) -> None:
        self.__dict__.setdefault("_values", {}).update(minimum=float(minimum), maximum=float(maximum))
        emit(self, "rangeChanged", minimum, maximum)
        self.setValues(self.minimumValue, self.maximumValue)

    def _set_minimumValue(self, value: float) -> None:
        self.setValues(value, self.maximumValue)

    def _set_maximumValue(self, value: float) -> None:
        self.setValues(self.minimumValue, value)

    def _set_minimum(self, value: float) -> None:
        self.setRange(value, self.maximum)

    def _set_maximum(self, value: float) -> None:
        self.setRange(self.minimum, value)


class ctkRangeWidget(RangeBehaviour, contract_class("ctkRangeWidget")):
    """A range; nothing is drawn."""

    def reset(self) -> None:
        self.setValues(self.minimum, self.maximum)


class ctkDoubleRangeSlider(RangeBehaviour, contract_class("ctkDoubleRangeSlider")):
    """A range without spin boxes; nothing is drawn."""
