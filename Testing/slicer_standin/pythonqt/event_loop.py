"""Qt's event loop as Slicer runs it: with Python's lock held.

Slicer enters its loop from C++ while it holds the lock, and nothing there gives it back: a Python thread
runs only while the main thread executes Python. PySide6 gives the lock away for as long as Qt works, so that
threads would run in tests that hardly run in Slicer. Here Qt is called past PySide6, through `ctypes.PyDLL`,
which keeps the lock; slots in Python are called as ever.

Where Qt's functions have other names (Windows), PySide6's own stay.
"""

from __future__ import annotations

import ctypes
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PySide6
from slicer_contract.qt_classes import QtCore, shiboken6

_FLAGS = "6QFlagsIN10QEventLoop17ProcessEventsFlagEE"
_OWN_FLAGS = "6QFlagsINS_17ProcessEventsFlagEE"
_ALL = 0

process_events_without_lock = QtCore.QCoreApplication.processEvents  # PySide6's own, to compare with


def keep_lock() -> None:
    """Patch the functions that let Qt work."""
    library = _library()
    if library is None:
        return
    process = _function(library, f"_ZN16QCoreApplication13processEventsE{_FLAGS}", None, ctypes.c_int)
    for_ms = _function(
        library, f"_ZN16QCoreApplication13processEventsE{_FLAGS}i", None, ctypes.c_int, ctypes.c_int
    )
    run = _function(
        library, f"_ZN10QEventLoop4execE{_OWN_FLAGS}", ctypes.c_int, ctypes.c_void_p, ctypes.c_int
    )

    def process_events(flags: Any = _ALL, maxtime: int | None = None) -> None:
        if maxtime is None:
            process(_number(flags))
        else:
            for_ms(_number(flags), maxtime)

    def exec_loop(loop: Any, flags: Any = _ALL) -> int:
        return run(shiboken6.getCppPointer(loop)[0], _number(flags))

    application: Any = QtCore.QCoreApplication
    application.processEvents = staticmethod(process_events)
    event_loop: Any = QtCore.QEventLoop
    event_loop.exec = event_loop.exec_ = exec_loop


def rest(seconds: float) -> None:
    """Wait with the lock held, like the loop when nothing is due."""
    if sys.platform == "win32":
        time.sleep(seconds)
    else:
        ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def _library() -> ctypes.PyDLL | None:
    """Qt's library as PySide6 has loaded it."""
    folder = Path(PySide6.__file__).parent / "Qt" / "lib"
    names = ("libQt6Core.so.6", "QtCore.framework/Versions/A/QtCore")
    found = next((folder / name for name in names if (folder / name).exists()), None)
    return ctypes.PyDLL(str(found)) if found else None


def _function(library: ctypes.PyDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = library[name]
    function.restype, function.argtypes = result, arguments
    return function


def _number(flags: Any) -> int:
    return int(getattr(flags, "value", flags))
