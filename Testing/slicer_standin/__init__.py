"""3D Slicer without the application: its real MRML libraries (PyPI: `slicer-core`), headless, with panels.

    import slicer_standin
    core = slicer_standin.start()              # slicer.mrmlScene, slicer.app, slicer.util work from here on
    module = slicer_standin.load_module(path)  # a scripted module file, as the module factory loads it
    panel, widget = slicer_standin.show_module(path.stem)  # its panel, as the module selector shows it

What is where, and what to beware of: README.md beside this file.
"""

from __future__ import annotations

from .application import start
from .core import Core
from .errors import StandInError
from .module_factory import close_module, load_module, show_module
from .panel_picture import save_picture
from .pythonqt.dialogs import dialogs
from .pythonqt.event_loop import rest
from .widgets.hierarchy_plugins import context_menu

__all__ = [
    "Core",
    "StandInError",
    "close_module",
    "context_menu",
    "dialogs",
    "load_module",
    "rest",
    "save_picture",
    "show_module",
    "start",
]
