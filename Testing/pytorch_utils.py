"""Slicer's extension PyTorch as it was over the years, as far as others call it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_MODULE = """
import logging
import qt
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

asked = []  # what was called, with its arguments


class PyTorchUtilsLogic(ScriptedLoadableModuleLogic):
  def __init__(self):
    self._torch = None

  @staticmethod
  def torchInstalled():
    asked.append("torchInstalled")
    import torch
    return True

  def installTorch(self{parameters}):
    asked.append({{k: v for k, v in locals().items() if k != "self"}})
    {install}
    import torch
    return torch
"""

_UNINSTALL = """
  def uninstallTorch(self, askConfirmation=False, forceComputationBackend=None):
    asked.append("uninstallTorch")
    slicer.util.pip_uninstall("torch torchvision")
"""

_BY_PIP = 'slicer.util.pip_install("torch")'
_BY_LTT = 'slicer.util._executePythonModule("light_the_torch", ["install", "torch", "torchvision"])'


@dataclass(frozen=True)
class Generation:
    """One version of the extension's interface: the parameters of installTorch, and whether it uninstalls."""

    parameters: str
    uninstalls: bool = True
    install: str = _BY_LTT

    def write(self, folder: Path) -> None:
        """Write the module into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        code = _MODULE.format(parameters=self.parameters, install=self.install)
        (folder / "PyTorchUtils.py").write_text(code + (_UNINSTALL if self.uninstalls else ""))


GENERATIONS = {
    "2021": Generation("", uninstalls=False, install=_BY_PIP),
    "late 2021": Generation(", askConfirmation=False", uninstalls=False, install=_BY_PIP),
    "2022": Generation(", askConfirmation=False, forceComputationBackend=None"),
    "June 2023": Generation(
        ", askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None"
    ),
    "July 2023": Generation(
        ", askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None,"
        " torchvisionVersionRequirement=None"
    ),
    "to come": Generation(", **options"),
}
LATEST = GENERATIONS["July 2023"]


class ExtensionsManager:
    """Slicer's model of extensions, with a server that has the extension PyTorch, or none.

    Attributes:
        asked: the extensions that were asked for.
    """

    def __init__(self, folder: Path, generation: Generation | None) -> None:
        self.interactive = True
        self.asked: list[tuple[str, bool, bool]] = []
        self._folder = folder
        self._generation = generation

    def isExtensionInstalled(self, name: str) -> bool:  # noqa: N802
        return name == "PyTorch" and self._folder.is_dir()

    def extensionModulePaths(self, name: str) -> list[str]:  # noqa: N802
        folders = [self._folder.parent / "empty", self._folder]
        return [str(folder) for folder in folders] if self.isExtensionInstalled(name) else []

    def installExtensionFromServer(self, name: str, restart: bool = True) -> bool:  # noqa: N802
        self.asked.append((name, restart, self.interactive))
        if self._generation:
            self._generation.write(self._folder)
        return self._generation is not None
