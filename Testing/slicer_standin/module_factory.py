"""Load, show and close a scripted module, as the module factory and the module selector do."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer

from .modules import qSlicerScriptedLoadableModule


def load_module(path: Path) -> ModuleType:
    """Load a scripted module file and instantiate its module class, as qSlicerScriptedLoadableModule does."""
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    parent = qSlicerScriptedLoadableModule(path)
    slicer.app.moduleManager()._add(name, parent)
    spec.loader.exec_module(module)
    setattr(slicer.modules, f"{name}Instance", getattr(module, name)(parent))
    return module


def show_module(name: str) -> tuple[Any, Any]:
    """Show the panel of a loaded module as the module selector does: made at the first time, then entered.

    Returns the panel (a QWidget) and the object of the module's Widget class.
    """
    slicer.util.selectModule(name)
    panel = slicer.app.moduleManager().module(name).widgetRepresentation()
    panel.show()
    slicer.app.processEvents()
    return panel, panel.self()


def close_module(name: str) -> None:
    """Destroy a panel as Slicer does at exit and before a reload; the next `show_module` makes a new one."""
    parent = slicer.app.moduleManager().module(name)
    if parent._panel is None:
        return
    if parent._panel.isEntered:
        parent._panel.exit()
    slicer.app.moduleManager().moduleAboutToBeUnloaded.emit(name)
    parent._panel.delete()
    parent._panel = None
    selector = slicer.util.mainWindow().moduleSelector()
    if selector.selectedModule == name:
        selector._forget()
