"""`slicer.modules.<name>` and the manager that knows them all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import slicer
from slicer_contract.qt_classes import QtWidgets

from .widgets.contract_class import contract_class, emit


class qSlicerLoadableModule(contract_class("qSlicerLoadableModule")):
    """A module of C++: its logic is real, and it has no panel."""

    def __init__(self, name: str, logic: slicer.vtkMRMLAbstractLogic | None = None) -> None:
        super().__init__()
        self.__dict__["_values"] = {"name": name, "title": name}
        self._logic = logic

    def logic(self) -> slicer.vtkMRMLAbstractLogic | None:
        return self._logic

    def widgetRepresentation(self) -> None:
        return None


class qSlicerScriptedLoadableModule(contract_class("qSlicerScriptedLoadableModule")):
    """A scripted module: the `parent` that its class describes itself to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path.stem)
        self.__dict__["_values"] |= {"path": str(path), "index": -1}
        self._panel: Any = None

    def widgetRepresentation(self) -> Any:
        """The panel, made when it is asked for the first time."""
        if self._panel is None:
            self._make_panel()
        return self._panel

    def _make_panel(self) -> None:
        """A widget with layout and scene, then the module's Widget and its setup."""
        name = self.name
        panel = self._panel = slicer.qSlicerScriptedLoadableModuleWidget()
        panel._module_name = name
        panel.setLayout(QtWidgets.QVBoxLayout())
        panel.setMRMLScene(slicer.mrmlScene)
        panel._widget = getattr(sys.modules[name], f"{name}Widget")(panel)
        setattr(slicer.modules, f"{name}Widget", panel._widget)
        panel._widget.setup()


class qSlicerModuleManager(contract_class("qSlicerModuleManager")):
    """All modules by name; `slicer.modules` has them under the name in lower case."""

    def __init__(self) -> None:
        super().__init__()
        self._modules: dict[str, Any] = {}
        self._factory_manager = qSlicerModuleFactoryManager(self._modules)

    def _add(self, name: str, module: Any) -> None:
        self._modules[name] = module
        setattr(slicer.modules, name.lower(), module)
        setattr(slicer.moduleNames, name, name)
        emit(self, "moduleLoaded", name)

    def module(self, name: str) -> Any:
        return self._modules.get(name)

    def modulesNames(self) -> tuple[str, ...]:
        return tuple(self._modules)

    def factoryManager(self) -> qSlicerModuleFactoryManager:
        return self._factory_manager


class qSlicerModuleFactoryManager(contract_class("qSlicerModuleFactoryManager")):
    """Which modules are loaded."""

    def __init__(self, modules: dict[str, Any]) -> None:
        super().__init__()
        self._modules = modules

    def isLoaded(self, name: str) -> bool:
        return name in self._modules

    def loadedModuleNames(self) -> tuple[str, ...]:
        return tuple(self._modules)
