"""CTK's line edits, path selectors and combo boxes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from slicer_contract.qt_classes import QtCore, QtWidgets

from .contract_class import contract_class, emit, parent_of


class ctkPathLineEdit(contract_class("ctkPathLineEdit")):
    """A path with its history."""

    # Flags of QDir::Filter.
    Dirs, Files, Drives, NoSymLinks, AllEntries = 0x001, 0x002, 0x004, 0x008, 0x007
    Readable, Writable, Executable, Hidden, System = 0x010, 0x020, 0x040, 0x100, 0x200
    _defaults: ClassVar[dict[str, Any]] = {"showBrowseButton": True, "showHistoryButton": True}

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._combo_box, self._browse_button = QtWidgets.QComboBox(), QtWidgets.QToolButton()
        self._combo_box.setEditable(True)
        self._browse_button.setText("...")
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo_box, 1)
        layout.addWidget(self._browse_button)
        self._combo_box.editTextChanged.connect(self._on_edited)
        self._browse_button.clicked.connect(lambda _checked: self.browse())

    def _on_edited(self, text: str) -> None:
        emit(self, "currentPathChanged", text)
        emit(self, "validInputChanged", Path(text).exists())

    def _get_currentPath(self) -> str:
        return self._combo_box.currentText

    def _set_currentPath(self, path: str) -> None:
        self._combo_box.setEditText(path)

    def comboBox(self) -> Any:
        return self._combo_box

    def addCurrentPathToHistory(self) -> None:
        if self._combo_box.findText(self.currentPath) < 0:
            self._combo_box.addItem(self.currentPath)

    def browse(self) -> None:
        """The answer to the dialog is the path, empty when the user cancels."""
        path = QtWidgets.QFileDialog.getOpenFileName(self, self.label, self.currentPath)
        if path:
            self.currentPath = path


class ctkDirectoryButton(contract_class("ctkDirectoryButton")):
    """A button that shows a folder and lets the user choose another."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(parent_of(arguments))
        self._directory = arguments[0] if arguments and isinstance(arguments[0], str) else "."
        self._button = QtWidgets.QPushButton(self._directory)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        self._button.clicked.connect(lambda _checked: self.browse())

    def _get_directory(self) -> str:
        return self._directory

    def _set_directory(self, directory: str) -> None:
        if QtCore.QDir(directory) == QtCore.QDir(self._directory):
            emit(self, "directorySelected", directory)
            return
        self._directory = QtCore.QDir(directory).absolutePath()
        self._button.setText(self._directory)
        emit(self, "directorySelected", self._directory)
        emit(self, "directoryChanged", self._directory)

    def browse(self) -> None:
        """The answer to the dialog is the folder, empty when the user cancels."""
        directory = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption, self._directory)
        if directory:
            self.directory = directory


class ctkSearchBox(contract_class("ctkSearchBox")):
    """A line edit with a lens."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.setPlaceholderText("Search...")


class ctkCheckableComboBox(contract_class("ctkCheckableComboBox")):
    """A combo box whose items have check marks."""

    def checkableModel(self) -> Any:
        return self.model()

    def checkedIndexes(self) -> list[Any]:
        indexes = (self.model().index(row, 0) for row in range(self.count))
        return [index for index in indexes if self.checkState(index) == QtCore.Qt.Checked]

    def checkState(self, index: Any) -> Any:
        state = index.data(QtCore.Qt.CheckStateRole)
        return QtCore.Qt.Unchecked if state is None else QtCore.Qt.CheckState(state)

    def setCheckState(self, index: Any, state: Any) -> None:
        self.model().setData(index, QtCore.Qt.CheckState(state), QtCore.Qt.CheckStateRole)
        emit(self, "checkedIndexesChanged")

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.count

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()
