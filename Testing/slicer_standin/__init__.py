"""3D Slicer without the application: its real MRML libraries (PyPI: `slicer-core`), started headless.

    import slicer_standin
    core = slicer_standin.start()              # slicer.mrmlScene, slicer.app, slicer.util work from here on
    module = slicer_standin.load_module(path)  # a scripted module file, as the module factory loads it

| file | what |
|---|---|
| `core.py` | the scene, the application logic, the logics of Slicer's modules |
| `subject_hierarchy.py` | items that a Qt plugin makes in the application |
| `file_io.py` | what is behind `slicer.util.load...` and `slicer.util.save...` |
| `application.py` | `slicer.app`, `slicer.modules`, `start`, `load_module` |
| `views.py` | slice and 3D pictures by Slicer's own displayable managers |
| `python_files/` | small stand-ins for Slicer's pure Python files, used without a checkout of Slicer |

With a checkout of Slicer (`start(slicer_source)` or the environment variable `SLICER_SOURCE`) its own Python
files, colour tables and terminologies are used.
"""

from __future__ import annotations

from .application import load_module, start
from .core import Core

__all__ = ["Core", "load_module", "start"]
