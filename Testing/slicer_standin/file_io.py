"""`slicer.app.coreIOManager()`: reads and writes nodes through the same C++ logics as the application."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer
import vtk

from .core import Core

FILE_TYPES = {
    ".seg.nrrd": "SegmentationFile",
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
}

# Bits of vtkSlicerVolumesLogic::AddArchetypeVolume's loading options.
LABELMAP, CENTERED, SINGLE_FILE, AUTO_WINDOW_LEVEL = 1, 2, 4, 8


class CoreIOManager:
    """The calls of `qSlicerCoreIOManager` that `slicer.util` makes."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def fileType(self, fileName: str) -> str:
        lower = str(fileName).lower()
        return next((kind for ending, kind in FILE_TYPES.items() if lower.endswith(ending)), "VolumeFile")

    def loadNodes(
        self,
        fileType: str,
        properties: Mapping[str, Any],
        loadedNodes: vtk.vtkCollection | None = None,
        userMessages: slicer.vtkMRMLMessageCollection | None = None,
    ) -> bool:
        file = Path(str(properties["fileName"]))
        if not file.exists():
            if userMessages:
                userMessages.AddMessage(vtk.vtkCommand.ErrorEvent, f"File not found: {file}")
            return False
        if fileType == "SceneFile":
            return self._load_scene(file, clear=bool(properties.get("clear")))
        node = self._load_node(fileType, file, properties)
        if node is not None and loadedNodes is not None:
            loadedNodes.AddItem(node)
        return node is not None

    def _load_node(self, kind: str, file: Path, properties: Mapping[str, Any]) -> slicer.vtkMRMLNode | None:
        logics, name = self._core.logics, properties.get("name") or file.name.split(".")[0]
        if kind == "SegmentationFile":
            return logics["Segmentations"].LoadSegmentationFromFile(str(file), True, name)
        if kind == "TransformFile":
            return logics["Transforms"].AddTransform(str(file), self._core.scene)
        if kind != "VolumeFile":
            raise NotImplementedError(f"the stand-in does not read files of type {kind}")
        options = LABELMAP * bool(properties.get("labelmap"))
        options |= CENTERED * bool(properties.get("center"))
        options |= SINGLE_FILE * bool(properties.get("singleFile"))
        return logics["Volumes"].AddArchetypeVolume(str(file), name, options | AUTO_WINDOW_LEVEL, None)

    def _load_scene(self, file: Path, clear: bool) -> bool:
        scene = self._core.scene
        if clear:
            scene.Clear(False)
        if file.suffix == ".mrb":
            return bool(scene.ReadFromMRB(str(file), clear))
        scene.SetURL(str(file))
        return bool(scene.Import())

    def fileWriterFileType(self, node: slicer.vtkMRMLNode, _fileFormat: str = "") -> str:
        return f"{node.GetClassName()}File"

    def saveNodes(
        self,
        fileType: str,
        properties: Mapping[str, Any],
        userMessages: slicer.vtkMRMLMessageCollection | None = None,
    ) -> bool:
        scene, file = self._core.scene, Path(str(properties["fileName"]))
        if fileType == "SceneFile" and file.suffix == ".mrb":
            return bool(scene.WriteToMRB(str(file)))
        if fileType == "SceneFile":
            scene.SetURL(str(file))
            scene.SetRootDirectory(str(file.parent))
            return bool(scene.Commit())
        node = scene.GetNodeByID(properties["nodeID"])
        if not node.AddDefaultStorageNode(str(file)):
            return False
        storage = node.GetStorageNode()
        storage.SetFileName(str(file))
        storage.SetUseCompression(properties.get("useCompression", True))
        written = bool(storage.WriteData(node))
        if userMessages:
            userMessages.AddMessages(storage.GetUserMessages())
        return written
