"""`slicer.app`: the application object, with settings, folders and managers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import slicer
from slicer_contract.qt_classes import QtCore

from .core import Core
from .file_io import qSlicerIOManager
from .layout import qSlicerLayoutManager
from .modules import qSlicerModuleManager
from .widgets.contract_class import contract_class

VERSION = "5.13.0"


class qSlicerApplication(contract_class("qSlicerApplication")):
    """Slicer with a user: it is not in testing mode, so message boxes appear and need an answer.

    `_testing = True` makes `slicer.util` answer its message boxes by itself, as Slicer does with --testing.
    """

    _defaults: ClassVar[dict[str, Any]] = {
        "mainApplicationName": "Slicer",
        "majorVersion": 5,
        "minorVersion": 13,
        "mainApplicationMajorVersion": 5,
        "mainApplicationMinorVersion": 13,
        "revision": "31053",
        "repositoryRevision": "31053",
        "os": "linux",
        "arch": "amd64",
        "platform": "linux-amd64",
        "applicationLocaleName": "en_US",
        "documentationBaseUrl": "https://slicer.readthedocs.io/en/latest/",
        "isInstalled": True,
        "slicerSharePath": "share",
    }

    def __init__(self, core: Core) -> None:
        super().__init__(["Slicer", "--no-main-window"])
        self.setOrganizationName("NA-MIC")
        self.setApplicationName("Slicer")
        self.setApplicationVersion(VERSION)
        _keep_settings_in(core.temporary_path)
        self._core = core
        self._testing = False
        self._node_modules: list[slicer.vtkMRMLNode] = []
        self._extensions_manager: Any = None
        self._settings = QtCore.QSettings()
        self._io_manager = qSlicerIOManager(core)
        self._module_manager = qSlicerModuleManager()
        self._layout_manager = qSlicerLayoutManager(core)
        self.__dict__["_values"] = {
            "temporaryPath": str(core.temporary_path),
            "slicerHome": str(core.home),
            "cachePath": str(core.temporary_path / "cache"),
            "defaultScenePath": str(core.temporary_path),
            "extensionsInstallPath": str(core.temporary_path / "Extensions"),
            "slicerUserSettingsFilePath": self._settings.fileName(),
            "slicerRevisionUserSettingsFilePath": self._settings.fileName(),
            "startupWorkingPath": str(Path.cwd()),
        }

    def coreIOManager(self) -> qSlicerIOManager:
        return self._io_manager

    ioManager = coreIOManager

    def mrmlScene(self) -> slicer.vtkMRMLScene:
        return self._core.scene

    def applicationLogic(self) -> slicer.vtkSlicerApplicationLogic:
        return self._core.application_logic

    def moduleLogic(self, moduleName: str) -> Any:
        return self._core.application_logic.GetModuleLogic(moduleName)

    def moduleManager(self) -> qSlicerModuleManager:
        return self._module_manager

    def layoutManager(self) -> qSlicerLayoutManager:
        return self._layout_manager

    def extensionsManagerModel(self) -> Any:
        """The object that a test puts into `_extensions_manager`."""
        return self._extensions_manager

    def testingEnabled(self) -> bool:
        return self._testing

    def settings(self) -> Any:
        return self._settings

    userSettings = revisionUserSettings = settings

    def commandOptions(self) -> SimpleNamespace:
        return SimpleNamespace(noMainWindow=slicer.util.mainWindow() is None, verboseModuleDiscovery=False)

    def moduleDocumentationUrl(self, moduleName: str) -> str:
        return f"{self.documentationBaseUrl}user_guide/modules/{moduleName.lower()}.html"

    def openNodeModule(self, node: slicer.vtkMRMLNode, *_roleAndContext: str) -> None:
        """The node is remembered in `_node_modules`; no module is shown."""
        self._node_modules.append(node)

    def environment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    startupEnvironment = environment

    def setRenderPaused(self, _pause: bool) -> None:
        """Nothing is drawn."""

    def pauseRender(self) -> None:
        """Nothing is drawn."""

    def resumeRender(self) -> None:
        """Nothing is drawn."""

    def logUsageEvent(self, _component: str, _event: str) -> None:
        """Does nothing: usage is not counted."""


def _keep_settings_in(folder: Path) -> None:
    """The user's own settings are neither read nor written."""
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    for scope in (QtCore.QSettings.UserScope, QtCore.QSettings.SystemScope):
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, scope, str(folder / scope.name))
