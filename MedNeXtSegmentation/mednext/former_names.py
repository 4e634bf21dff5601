"""Modules under the names of version 0.1.0, for scripts and consoles that import them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

FORMER = {
    "mednext.bundle": "mednext.model.bundle",
    "mednext.devices": "mednext.system.devices",
    "mednext.environment_check": "mednext.worker.environment_check",
    "mednext.export": "mednext.segmentation.export",
    "mednext.geometry": "mednext.images.geometry",
    "mednext.labels": "mednext.model.labels",
    "mednext.pipeline": "mednext.inference.segment",
    "mednext.store": "mednext.library.store",
    "mednext.volume": "mednext.images.volume",
}


class _FormerNames(MetaPathFinder, Loader):
    """Finds a module that Python found nowhere, by its former name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname in FORMER else None

    def create_module(self, spec: ModuleSpec) -> None:
        """Python's usual empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Take every attribute from the module of today."""
        module.__dict__["__getattr__"] = partial(getattr, import_module(FORMER[module.__name__]))


def find_former_names() -> None:
    """Let `import` find them from now on."""
    if not any(type(finder).__name__ == _FormerNames.__name__ for finder in sys.meta_path):
        sys.meta_path.append(_FormerNames())
