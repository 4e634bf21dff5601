"""Starting Slicer: the scene, `qt`, `ctk`, `slicer.app`, `slicer.modules` and Slicer's Python files."""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import logging
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import slicer
import slicer_core
from slicer_contract.qt_classes import QtWidgets, shiboken6

from . import main_window, modules
from .core import Core
from .module_factory import load_module
from .pythonqt.qt_module import make_qt_module
from .slicer_app import qSlicerApplication
from .widgets.all_widgets import add_slicer_widgets, make_ctk_module

HERE = Path(__file__).parent
STANDIN_PYTHON_FILES = HERE / "python_files"
SCRIPTED_MODULES = HERE / "scripted_modules"


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
    sys.modules["qt"] = make_qt_module()
    sys.modules["ctk"] = make_ctk_module()
    add_slicer_widgets(slicer)
    _give_libraries_their_names()
    slicer.__path__.append(str(source / "Base/Python/slicer" if source else STANDIN_PYTHON_FILES))
    slicer.util = importlib.import_module("slicer.util")
    slicer.util.delayDisplay = _log_instead_of_showing
    slicer.app = qSlicerApplication(core)
    slicer.qSlicerApplication = qSlicerApplication
    slicer.modules = sys.modules["slicer.modules"] = ModuleType("slicer.modules")
    slicer.moduleNames = SimpleNamespace()
    for name, logic in core.logics.items():
        slicer.app.moduleManager()._add(name, modules.qSlicerLoadableModule(name, logic))
    # Python would destroy it, since Qt does not hold windows without a parent.
    core.main_window = main_window.qSlicerMainWindow()  # type: ignore[attr-defined]
    load_module(SCRIPTED_MODULES / "SegmentEditor.py")
    load_module(SCRIPTED_MODULES / "SegmentStatistics.py")
    atexit.register(_destroy_widgets)
    return core


def _give_libraries_their_names() -> None:
    """Code in Slicer imports its compiled libraries by these names."""
    for name in dir(slicer_core):
        library = getattr(slicer_core, name)
        if isinstance(library, ModuleType):
            sys.modules.setdefault(name, library)
            sys.modules.setdefault(f"{name}Python", library)
    sys.modules.setdefault("mrml", slicer)


def _log_instead_of_showing(message: str, *_arguments: Any, **_options: Any) -> None:
    """In place of `slicer.util.delayDisplay`, whose window would stay for a second."""
    logging.getLogger(__name__).info(message)
    slicer.app.processEvents()


def _destroy_widgets() -> None:
    """Python's own order of destruction at exit would abort the process."""
    # The lists of combo boxes are windows, too, and go with their boxes.
    windows = QtWidgets.QApplication.topLevelWidgets()
    for window in [window for window in windows if window.parent() is None]:
        if shiboken6.isValid(window):
            shiboken6.delete(window)
    gc.collect()
