"""The bases of Slicer's widgets: they know the scene."""

from __future__ import annotations

from typing import Any

from .contract_class import contract_class, emit


class qMRMLWidget(contract_class("qMRMLWidget")):
    """Keeps the scene and signals its changes."""

    def mrmlScene(self) -> Any:
        return self.__dict__.get("_scene")

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self.mrmlScene():
            self._scene = scene
            emit(self, "mrmlSceneChanged", scene)


class qSlicerWidget(contract_class("qSlicerWidget")):
    """The base of module panels; Python cannot ask it for the scene."""

    def setMRMLScene(self, scene: Any) -> None:
        if scene is not self.__dict__.get("_scene"):
            self._scene = scene
            emit(self, "mrmlSceneChanged", scene)


class qSlicerAbstractModuleWidget(contract_class("qSlicerAbstractModuleWidget")):
    """A module's panel, shown or not."""

    def _get_isEntered(self) -> bool:
        return self.__dict__.get("_entered", False)


class qSlicerScriptedLoadableModuleWidget(contract_class("qSlicerScriptedLoadableModuleWidget")):
    """The panel of a scripted module: the `parent` that its Widget class gets, which `self()` returns."""

    def self(self) -> Any:
        return self.__dict__.get("_widget")

    def _get_moduleName(self) -> str:
        return self.__dict__.get("_module_name", "")

    def enter(self) -> None:
        self._entered = True
        if hasattr(self._widget, "enter"):
            self._widget.enter()

    def exit(self) -> None:
        self._entered = False
        if hasattr(self._widget, "exit"):
            self._widget.exit()
