"""`slicer.app.coreIOManager()`: reads and writes nodes through the same C++ logics as the application."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer
import vtk

from .core import Core
from .widgets.contract_class import contract_class

# Endings in the order in which they are tried.
FILE_TYPES = {
    ".seg.nrrd": "SegmentationFile",
    ".seq.nrrd": "SequenceFile",
    ".mrk.json": "MarkupsFile",
    ".mrb": "SceneFile",
    ".mrml": "SceneFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".ctbl": "ColorTableFile",
    ".vtk": "ModelFile",
    ".vtp": "ModelFile",
    ".stl": "ModelFile",
    ".obj": "ModelFile",
    ".ply": "ModelFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
}

# Bits of vtkSlicerVolumesLogic::AddArchetypeVolume's loading options.
LABELMAP, CENTERED, SINGLE_FILE, AUTO_WINDOW_LEVEL = 1, 2, 4, 8


class qSlicerIOManager(contract_class("qSlicerIOManager")):
    """The calls of the application's manager that `slicer.util` makes."""

    def __init__(self, core: Core) -> None:
        super().__init__()
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
            return self.loadScene(str(file), bool(properties.get("clear")))
        node = self._load_node(fileType, file, properties)
        if node is not None and loadedNodes is not None:
            loadedNodes.AddItem(node)
        return node is not None

    def loadScene(self, fileName: str, clear: bool = True) -> bool:
        scene, file = self._core.scene, Path(str(fileName))
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
        if fileType == "SceneFile":
            return self._save_scene(file)
        node = scene.GetNodeByID(properties["nodeID"])
        written = _write(node, file, properties)
        if userMessages and node.GetStorageNode():
            userMessages.AddMessages(node.GetStorageNode().GetUserMessages())
        return written

    def exportNodes(
        self,
        nodeIDs: list[str],
        fileNames: list[str],
        properties: Mapping[str, Any],
        hardenTransforms: bool,
        _userMessages: slicer.vtkMRMLMessageCollection | None = None,
    ) -> bool:
        """Write copies of nodes; hardenTransforms: in world coordinates."""
        results = [
            self._export_node(node_id, Path(str(name)), properties, hardenTransforms)
            for node_id, name in zip(nodeIDs, fileNames, strict=True)
        ]
        return all(results)

    def _load_node(self, kind: str, file: Path, properties: Mapping[str, Any]) -> slicer.vtkMRMLNode | None:
        logics, scene, path = self._core.logics, self._core.scene, str(file)
        name = properties.get("name") or file.name.split(".")[0]
        readers = {
            "VolumeFile": lambda: self._load_volume(path, name, properties),
            "SegmentationFile": lambda: logics["Segmentations"].LoadSegmentationFromFile(path, True, name),
            "TransformFile": lambda: logics["Transforms"].AddTransform(path, scene),
            "ColorTableFile": lambda: logics["Colors"].LoadColorFile(path, name),
            "SequenceFile": lambda: logics["Sequences"].AddSequence(path),
            "ModelFile": lambda: logics["Models"].AddModel(path),
            "TableFile": lambda: logics["Tables"].AddTable(path, name),
            "MarkupsFile": lambda: scene.GetNodeByID(logics["Markups"].LoadMarkups(path, name) or ""),
        }
        if kind not in readers:
            raise NotImplementedError(f"the stand-in does not read files of type {kind}")
        return readers[kind]()

    def _load_volume(self, path: str, name: str, properties: Mapping[str, Any]) -> slicer.vtkMRMLNode | None:
        options = LABELMAP * bool(properties.get("labelmap"))
        options |= CENTERED * bool(properties.get("center"))
        options |= SINGLE_FILE * bool(properties.get("singleFile"))
        return self._core.logics["Volumes"].AddArchetypeVolume(path, name, options | AUTO_WINDOW_LEVEL, None)

    def _save_scene(self, file: Path) -> bool:
        scene = self._core.scene
        if file.suffix == ".mrb":
            return bool(scene.WriteToMRB(str(file)))
        scene.SetURL(str(file))
        scene.SetRootDirectory(str(file.parent))
        return bool(scene.Commit())

    def _export_node(
        self, node_id: str, file: Path, properties: Mapping[str, Any], hardenTransforms: bool
    ) -> bool:
        source, scene = self._core.scene.GetNodeByID(node_id), slicer.vtkMRMLScene()
        self._core.scene.CopyDefaultNodesToScene(scene)
        self._core.scene.CopyRegisteredNodesToScene(scene)
        copy = scene.AddNewNodeByClass(source.GetClassName())
        copy.CopyContent(source, hardenTransforms)
        parent = source.GetParentTransformNode() if source.IsA("vtkMRMLTransformableNode") else None
        if hardenTransforms and parent:
            from_world = vtk.vtkGeneralTransform()
            parent.GetTransformFromWorld(from_world)
            transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
            transform.SetAndObserveTransformFromParent(from_world)
            copy.SetAndObserveTransformNodeID(transform.GetID())
            copy.HardenTransform()
        return _write(copy, file, properties)


def _write(node: slicer.vtkMRMLStorableNode, file: Path, properties: Mapping[str, Any]) -> bool:
    if not node.AddDefaultStorageNode(str(file)):
        return False
    storage = node.GetStorageNode()
    storage.SetFileName(str(file))
    storage.SetUseCompression(properties.get("useCompression", True))
    return bool(storage.WriteData(node))
