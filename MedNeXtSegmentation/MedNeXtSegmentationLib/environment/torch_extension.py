"""Installation of PyTorch by Slicer's extension of that name, in all its versions, without importing torch.

Every call first looks which of these the installed version has:

| since | function or argument |
|---|---|
| 2021 | `installTorch()`; it ends with `import torch`, as `torchInstalled()` does, which is not used here |
| 2021 | `installTorch(askConfirmation)` |
| 2022 | `forceComputationBackend`, `uninstallTorch()` |
| 2023 | `torchVersionRequirement`, then `torchvisionVersionRequirement` |
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from mednext.errors import MissingPackageError
from mednext.worker.environment_facts import OLDEST_TORCH, is_older
from slicer.i18n import tr as _

from .repair_plan import installedVersion

logger = logging.getLogger(__name__)

EXTENSION = "PyTorch"
MODULE = "PyTorchUtils"

# The errors of its versions when the network, pip, or the final import fails.
_FAILURES = (
    ImportError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    subprocess.SubprocessError,
)


class TorchExtension:
    """Installs and removes PyTorch, in Slicer's main thread."""

    def isInstalled(self) -> bool:
        """Whether the extension is installed."""
        return MODULE in sys.modules or importlib.util.find_spec(MODULE) is not None or bool(_modulePaths())

    def installItself(self) -> None:
        """Install the extension, which mostly works without a restart.

        Raises `MissingPackageError` when it cannot be installed, or needs a restart.
        """
        model = _extensionsManagerModel()
        if model is None or not hasattr(model, "installExtensionFromServer"):
            raise MissingPackageError(_howToInstallTheExtension())
        interactive, model.interactive = model.interactive, False  # the user has already agreed
        try:
            installed = model.installExtensionFromServer(EXTENSION, False)
        finally:
            model.interactive = interactive
        if not installed:
            raise MissingPackageError(_howToInstallTheExtension())

    def installTorch(self) -> None:
        """Install the PyTorch that fits this machine. Raises `MissingPackageError` when that fails."""
        reason: Exception | None = None
        with torchBarred():
            try:
                logic = _import().PyTorchUtilsLogic()
                logic.installTorch(**_knownArguments(logic.installTorch))
            except _FAILURES as error:
                reason = error  # also of the final import, which is barred
        importlib.invalidate_caches()
        version = installedVersion("torch")
        if version is None or is_older(version, OLDEST_TORCH):
            raise MissingPackageError(
                _(
                    "PyTorch could not be installed ({reason}). Check the network connection and the free "
                    "space; pip's output is under Advanced, Environment."
                ).format(reason=reason or _("its extension gave no reason"))
            ) from reason
        logger.info("PyTorch %s is installed.", version)

    def uninstallTorch(self) -> None:
        """Remove PyTorch as far as pip knows its files."""
        with torchBarred():
            try:
                logic = _import().PyTorchUtilsLogic()
                if hasattr(logic, "uninstallTorch"):
                    logic.uninstallTorch()
                else:
                    slicer.util.pip_uninstall("torch torchvision")
            except _FAILURES as error:  # pip cannot uninstall half a PyTorch; its folders are removed next
                logger.warning("PyTorch could not be uninstalled: %r", error)
        importlib.invalidate_caches()


@contextmanager
def torchBarred() -> Iterator[None]:
    """Within the block `import torch` raises ModuleNotFoundError in this process.

    A crash of torch would end Slicer with all unsaved work, and Windows cannot replace a loaded library.
    A torch that another extension has already imported stays.
    """
    barred = [name for name in ("torch", "torchvision") if name not in sys.modules]
    for name in barred:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in barred:
            if sys.modules.get(name, name) is None:
                del sys.modules[name]


def torchIsInUse() -> bool:
    """Whether another extension has imported torch into Slicer, so that a new one needs a restart."""
    return sys.modules.get("torch") is not None


def _import() -> ModuleType:
    """Import PyTorchUtils, also of an extension that was installed in this session."""
    try:
        return importlib.import_module(MODULE)
    except ModuleNotFoundError as error:
        if error.name != MODULE:
            raise
    for path in _modulePaths():
        if path not in sys.path:
            sys.path.append(path)
    importlib.invalidate_caches()
    return importlib.import_module(MODULE)


def _modulePaths() -> list[str]:
    """The folders of the installed extension that hold its module."""
    model = _extensionsManagerModel()
    if model is None or not model.isExtensionInstalled(EXTENSION):
        return []
    folders = [Path(path) for path in model.extensionModulePaths(EXTENSION)]
    return [str(folder) for folder in folders if (folder / f"{MODULE}.py").is_file()]


def _extensionsManagerModel() -> Any:
    """None in a Slicer that was built without it."""
    return slicer.app.extensionsManagerModel() if hasattr(slicer.app, "extensionsManagerModel") else None


def _knownArguments(function: Any) -> dict[str, Any]:
    """The arguments for `installTorch` that this version of the extension knows."""
    wanted = {"askConfirmation": False, "torchVersionRequirement": f">={OLDEST_TORCH}"}
    known = inspect.signature(function).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in known.values()):
        return wanted
    return {name: value for name, value in wanted.items() if name in known}


def _howToInstallTheExtension() -> str:
    return _(
        "Slicer's extension PyTorch is needed and could not be installed: install it in the Extensions "
        "Manager (menu View), restart Slicer, and press the button again. Without a network, see "
        "docs/troubleshooting.md."
    )
