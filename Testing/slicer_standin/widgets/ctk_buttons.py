"""CTK's buttons and sections that fold."""

from __future__ import annotations

from typing import Any, ClassVar

from slicer_contract.qt_classes import QtCore, QtGui, QtWidgets

from .contract_class import contract_class, emit, parent_of

UNLIMITED_PX = 16777215


class ctkCollapsibleButton(contract_class("ctkCollapsibleButton")):
    """A section of a panel with a bar above that folds it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._shown_when_open: list[Any] = []
        self.setCheckable(True)
        self.setChecked(True)
        if arguments and isinstance(arguments[0], str):
            self.setText(arguments[0])
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self.setContentsMargins(0, self._bar_height(), 0, 0)
        self.toggled.connect(self._fold)

    def _bar_height(self) -> int:
        return self.fontMetrics().height() + 12

    def _get_collapsed(self) -> bool:
        return not self.isChecked()

    def _set_collapsed(self, collapsed: bool) -> None:
        self.setChecked(not collapsed)

    def _fold(self, is_open: bool) -> None:
        if is_open:
            for child in self._shown_when_open:
                child.show()
        else:
            children = [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]
            self._shown_when_open = [child for child in children if not child.isHidden()]
            for child in self._shown_when_open:
                child.hide()
        self.setMaximumHeight(UNLIMITED_PX if is_open else self._bar_height())
        emit(self, "contentsCollapsed", not is_open)

    def paintEvent(self, _event: Any) -> None:
        painter, option = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width, self._bar_height() - 2)
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        arrow = (
            "\N{BLACK DOWN-POINTING SMALL TRIANGLE}"
            if self.isChecked()
            else "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"
        )
        alignment = QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft
        painter.drawText(option.rect.adjusted(8, 0, -8, 0), alignment, f"{arrow} {self.text}")

    def sizeHint(self) -> Any:
        layout = self.layout()
        if self.isChecked() and layout:
            return layout.sizeHint()
        return QtCore.QSize(200, self._bar_height())

    def hitButton(self, position: Any) -> bool:
        return position.y() < self._bar_height()


class qMRMLCollapsibleButton(contract_class("qMRMLCollapsibleButton")):
    """A folding section that hands the scene on."""

    def setMRMLScene(self, scene: Any) -> None:
        emit(self, "mrmlSceneChanged", scene)


class ctkCollapsibleGroupBox(contract_class("ctkCollapsibleGroupBox")):
    """A group box that folds; its check mark says whether it is open."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._is_collapsed = False
        self.setCheckable(True)
        self.toggled.connect(lambda on: self._set_collapsed(not on))

    def _get_collapsed(self) -> bool:
        return self._is_collapsed

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed == self._is_collapsed:
            return
        self._is_collapsed = collapsed
        self.setChecked(not collapsed)
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(not collapsed)


class ctkCheckablePushButton(contract_class("ctkCheckablePushButton")):
    """A push button with a check box in it."""

    _defaults: ClassVar[dict[str, Any]] = {"checkBoxUserCheckable": True, "checkState": QtCore.Qt.Unchecked}

    def _set_checkState(self, state: Any) -> None:
        self.__dict__.setdefault("_values", {})["checkState"] = state
        emit(self, "checkStateChanged", state)
        emit(self, "checkBoxToggled", int(state) == QtCore.Qt.Checked)


class ctkColorPickerButton(contract_class("ctkColorPickerButton")):
    """A button that holds a colour."""

    _defaults: ClassVar[dict[str, Any]] = {"displayColorName": True}

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._color = QtGui.QColor("black")

    def _get_color(self) -> Any:
        return self._color

    def _set_color(self, color: Any) -> None:
        # PySide6 does not convert a subclass of QColor, which Slicer's parameter node gives.
        is_color = isinstance(color, QtGui.QColor)
        color = QtGui.QColor.fromRgba(color.rgba()) if is_color else QtGui.QColor(color)
        if color != self._color:
            self._color = color
            emit(self, "colorChanged", color)
