"""Plugins of the subject hierarchy, and the context menu that they fill.

As in `qSlicerSubjectHierarchyPluginHandler`, `qSlicerSubjectHierarchyScriptedPlugin::setPythonSource` and
`qMRMLSubjectHierarchyTreeView::populateContextMenuForItem`. Slicer's own plugins are missing.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import slicer

from .contract_class import contract_class


class qSlicerSubjectHierarchyAbstractPlugin(contract_class("qSlicerSubjectHierarchyAbstractPlugin")):
    _defaults: ClassVar[dict[str, Any]] = {"name": ""}

    def itemContextMenuActions(self) -> list[Any]:
        return []

    def sceneContextMenuActions(self) -> list[Any]:
        return []

    def viewContextMenuActions(self) -> list[Any]:
        return []

    def showContextMenuActionsForItem(self, itemID: int) -> None:
        pass


class qSlicerSubjectHierarchyScriptedPlugin(contract_class("qSlicerSubjectHierarchyScriptedPlugin")):
    """Calls the methods of a Python object; those that it omits are the base class's."""

    _defaults: ClassVar[dict[str, Any]] = {"name": "UnnamedScriptedPlugin"}

    def setPythonSource(self, filePath: str) -> bool:
        path = Path(filePath)
        if path.suffix not in (".py", ".pyc"):
            return False
        name = path.name.split(".")[0]
        class_name = name if name.endswith("SubjectHierarchyPlugin") else f"{name}SubjectHierarchyPlugin"
        if not hasattr(sys.modules.get(name), class_name):
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec and spec.loader
            sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
        self._path = filePath
        self._self = getattr(sys.modules[name], class_name)(self)
        setattr(slicer, class_name, self._self)
        return True

    def pythonSource(self) -> str:
        return self._path

    def self(self) -> Any:
        return self._self

    def itemContextMenuActions(self) -> list[Any]:
        method = getattr(self._self, "itemContextMenuActions", None)
        return method() if method else []

    def sceneContextMenuActions(self) -> list[Any]:
        method = getattr(self._self, "sceneContextMenuActions", None)
        return method() if method else []

    def showContextMenuActionsForItem(self, itemID: int) -> None:
        method = getattr(self._self, "showContextMenuActionsForItem", None)
        if method:
            method(itemID)


class qSlicerSubjectHierarchyPluginHandler(contract_class("qSlicerSubjectHierarchyPluginHandler")):
    """The one handler: plugins, and the items of the context menu."""

    _one: ClassVar[Any] = None

    @classmethod
    def instance(cls) -> Any:
        if cls._one is None:
            cls._one = cls()
            cls._one._plugins, cls._one._items = [], []
        return cls._one

    def registerPlugin(self, plugin: Any) -> bool:
        if not plugin.name or self.pluginByName(plugin.name) is not None:
            return False
        self._plugins.append(plugin)
        return True

    def registeredPlugins(self) -> list[Any]:
        return list(self._plugins)

    def allPlugins(self) -> list[Any]:
        return list(self._plugins)

    def pluginByName(self, name: str) -> Any:
        return next((plugin for plugin in self._plugins if plugin.name == name), None)

    def subjectHierarchyNode(self) -> slicer.vtkMRMLSubjectHierarchyNode:
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)

    def setCurrentItem(self, itemID: int) -> None:
        self._items = [itemID]

    def setCurrentItems(self, items: Sequence[int]) -> None:
        self._items = list(items)

    def currentItem(self) -> int:
        return self._items[0] if len(self._items) == 1 else 0

    def currentItems(self) -> list[int]:
        return list(self._items)


def context_menu(*selected: int) -> dict[str, Any]:
    """Select items in a tree of the subject hierarchy and right-click the last one.

    Returns the visible actions of plugins by their texts: none for several items, as in Slicer.
    """
    handler = qSlicerSubjectHierarchyPluginHandler.instance()
    handler.setCurrentItems(selected)
    actions = [action for plugin in handler.allPlugins() for action in plugin.itemContextMenuActions()]
    for action in actions:
        action.visible = False
    if len(selected) == 1:
        for plugin in handler.allPlugins():
            plugin.showContextMenuActionsForItem(handler.currentItem())
    return {action.text: action for action in actions if action.visible}
