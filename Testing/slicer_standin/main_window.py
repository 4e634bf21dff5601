"""The main window: it selects modules and shows messages in the status bar."""

from __future__ import annotations

from typing import Any

import slicer
from slicer_contract.qt_classes import QtCore

from .widgets.contract_class import contract_class, emit


class qSlicerModuleSelectorToolBar(contract_class("qSlicerModuleSelectorToolBar")):
    """One module is selected: the panel of the one before is left, its own is entered."""

    def _get_selectedModule(self) -> str:
        return self.__dict__.get("_selected", "")

    def _set_selectedModule(self, name: str) -> None:
        self.selectModule(name)

    def selectModule(self, name: str) -> None:
        module = slicer.util.getModule(name)
        before = self._panel(self.selectedModule)
        if before is not None and self.selectedModule != name:
            before.exit()
        panel = module.widgetRepresentation()
        if panel is not None and not panel.isEntered:
            panel.enter()
        self._selected = name
        emit(self, "moduleSelected", name)

    def _forget(self) -> None:
        self._selected = ""

    def _panel(self, name: str) -> Any:
        module = slicer.app.moduleManager().module(name)
        return module.widgetRepresentation() if module else None


class qSlicerMainWindow(contract_class("qSlicerMainWindow")):
    """Found by `slicer.util.mainWindow()`."""

    def __init__(self) -> None:
        super().__init__()
        QtCore.QObject.setObjectName(self, "qSlicerMainWindow")
        self._module_selector = qSlicerModuleSelectorToolBar(self)

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._module_selector
