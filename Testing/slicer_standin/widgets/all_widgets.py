"""The modules `ctk` and `slicer` with every widget of the contract."""

from __future__ import annotations

from types import ModuleType

from slicer_contract.facts import slicer_classes
from slicer_contract.qt_classes import QtCore

from . import (  # noqa: F401  (importing a file registers its classes)
    ctk_buttons,
    ctk_choices,
    ctk_numbers,
    hierarchy_plugins,
    node_combo_box,
    scene_widgets,
    segmentation_widgets,
)
from .contract_class import standin_class


def make_ctk_module() -> ModuleType:
    """The module of `import ctk`."""
    ctk = ModuleType("ctk", "stand-in for CTK's Python module")
    _fill(ctk, "ctk")
    return ctk


def add_slicer_widgets(module: ModuleType) -> None:
    """Put `qMRML...` and `qSlicer...` into the module `slicer`."""
    _fill(module, "q")


def _fill(module: ModuleType, prefix: str) -> None:
    for name in slicer_classes():
        if name.startswith(prefix) and not hasattr(module, name):
            cls = standin_class(name)
            # There is one application, and application.py makes its class.
            if not issubclass(cls, QtCore.QCoreApplication):
                setattr(module, name, cls)
