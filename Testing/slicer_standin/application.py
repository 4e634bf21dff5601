"""`slicer.app`, `slicer.modules`, and what the module factory does with a scripted module."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer

from .core import Core
from .file_io import CoreIOManager

STANDIN_PYTHON_FILES = Path(__file__).parent / "python_files"


class Application:
    """The part of `slicer.app` that needs no window."""

    majorVersion, minorVersion, applicationVersion = 5, 13, "5.13.0"
    applicationName = mainApplicationName = "Slicer"

    def __init__(self, core: Core) -> None:
        self._core = core
        self._io_manager = CoreIOManager(core)
        self.temporaryPath = str(core.temporary_path)
        self.slicerHome = str(core.home)

    def coreIOManager(self) -> CoreIOManager:
        return self._io_manager

    ioManager = coreIOManager

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return self._core.scene

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:
        return self._core.application_logic

    def testingEnabled(self) -> bool:
        return True

    def processEvents(self) -> None:
        """There is no event loop."""

    def translate(self, _context: str, text: str) -> str:
        return text


class LoadableModule:
    """`slicer.modules.<name>` of a C++ module."""

    def __init__(self, name: str, logic: slicer.vtkMRMLAbstractLogic) -> None:
        self.name = self.title = name
        self._logic = logic

    def logic(self) -> slicer.vtkMRMLAbstractLogic:
        return self._logic


class ScriptedModule:
    """`slicer.modules.<name>` of a scripted module: the `parent` that its class describes itself to."""

    def __init__(self, path: Path) -> None:
        self.name, self.path = path.stem, str(path)
        self.title, self.helpText, self.acknowledgementText = "", "", ""
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.hidden = False
        self.icon: Any = None


@functools.cache
def start(slicer_source: str | os.PathLike[str] | None = None) -> Core:
    """Start Slicer once per process: afterwards `slicer.mrmlScene`, `slicer.app` and `slicer.util` work.

    slicer_source: a checkout of Slicer, by default that of `$SLICER_SOURCE`; without one the stand-ins of
    `python_files` take the place of Slicer's Python files.
    """
    checkout = slicer_source or os.environ.get("SLICER_SOURCE")
    source = Path(checkout) if checkout else None
    core = Core(source)
    slicer.mrmlScene = core.scene
    slicer.modules = sys.modules["slicer.modules"] = ModuleType("slicer.modules")
    slicer.moduleNames = SimpleNamespace()
    for name, logic in core.logics.items():
        setattr(slicer.modules, name.lower(), LoadableModule(name, logic))
        setattr(slicer.moduleNames, name, name)
    slicer.app = Application(core)
    slicer.__path__.append(str(source / "Base/Python/slicer" if source else STANDIN_PYTHON_FILES))
    if source:
        _provide_qt_for_slicers_python_files()
    slicer.util = importlib.import_module("slicer.util")
    return core


def _provide_qt_for_slicers_python_files() -> None:
    """Slicer's ScriptedLoadableModule.py imports qt and ctk; without a panel it only makes an icon."""
    qt = ModuleType("qt")
    qt.QIcon = Path  # type: ignore[attr-defined]
    sys.modules.setdefault("qt", qt)
    sys.modules.setdefault("ctk", ModuleType("ctk"))


def load_module(path: Path) -> ModuleType:
    """Load a scripted module file and instantiate its module class, as qSlicerScriptedLoadableModule does."""
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec and spec.loader, path
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    parent = ScriptedModule(path)
    setattr(slicer.modules, name.lower(), parent)
    setattr(slicer.moduleNames, name, name)
    spec.loader.exec_module(module)
    setattr(slicer.modules, f"{name}Instance", getattr(module, name)(parent))
    return module
