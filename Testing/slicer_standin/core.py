"""The MRML scene, the application logic and the module logics, as the application sets them up."""

from __future__ import annotations

import tempfile
from pathlib import Path

import slicer
import vtk

from .subject_hierarchy import ItemMaker

# Name in slicer.modules (in lower case) and in the application logic -> class of the logic.
LOGIC_CLASSES = {
    "Annotations": "vtkSlicerAnnotationModuleLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Units": "vtkSlicerUnitsLogic",
    "Colors": "vtkSlicerColorLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Models": "vtkSlicerModelsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Data": "vtkSlicerDataModuleLogic",
}


class Core:
    """One scene with everything that works on it; one per process, as in the application."""

    def __init__(self, slicer_source: Path | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="slicer_standin_")
        self.temporary_path = Path(self._folder.name)
        self.home = self._make_home(slicer_source)
        self.scene = slicer.vtkMRMLScene()
        self.scene.SetRootDirectory(str(self.temporary_path))
        self._add_crosshair()
        self.application_logic = self._make_application_logic()
        self._connect_data_io()
        self._connect_displayable_managers()
        # Without a checkout the terminologies cannot be loaded, which their logic need not complain about.
        vtk.vtkObject.SetGlobalWarningDisplay(slicer_source is not None)
        self.logics = {name: self._make_logic(name, class_name) for name, class_name in LOGIC_CLASSES.items()}
        vtk.vtkObject.GlobalWarningDisplayOn()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self._item_maker = ItemMaker(self.scene)

    def _make_home(self, slicer_source: Path | None) -> Path:
        """The installation's folder with the share files that the logics look for."""
        home = self.temporary_path / "home"
        terminologies = home / "share" / "Terminologies"
        terminologies.mkdir(parents=True)
        if slicer_source:
            resources = {
                "ColorFiles": slicer_source / "Base/Logic/Resources/ColorFiles",
                "VolumeRendering": slicer_source / "Modules/Loadable/VolumeRendering/Resources",
            }
            for name, folder in resources.items():
                (home / "share" / name).symlink_to(folder)
            for file in (slicer_source / "Modules/Loadable/Terminologies/Resources").glob("*.json"):
                (terminologies / f"{file.stem}.term.json").symlink_to(file)
        else:
            (home / "share" / "ColorFiles").mkdir()
        return home

    def _add_crosshair(self) -> None:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)

    def _make_application_logic(self) -> slicer.vtkSlicerApplicationLogic:
        logic = slicer.vtkSlicerApplicationLogic()
        logic.SetTemporaryPath(str(self.temporary_path))
        logic.SetHomeDirectory(str(self.home))
        logic.SetShareDirectory("share")
        logic.SetMRMLScene(self.scene)
        return logic

    def _connect_data_io(self) -> None:
        """Without these two logics a storage node cannot read or write."""
        self._remote_io = slicer.vtkMRMLRemoteIOLogic()
        cache = self.temporary_path / "cache"
        cache.mkdir()
        cache_manager = self._remote_io.GetCacheManager()
        cache_manager.CreateSentinelFileInDirectory(str(cache))
        cache_manager.SetRemoteCacheDirectory(str(cache))
        self._data_io = slicer.vtkDataIOManagerLogic()
        self._data_io.SetMRMLApplicationLogic(self.application_logic)
        self._data_io.SetAndObserveDataIOManager(self._remote_io.GetDataIOManager())
        self.application_logic.SetMRMLSceneDataIO(self.scene, self._remote_io, self._data_io)

    def _connect_displayable_managers(self) -> None:
        self.application_logic.SetSliceLogics(vtk.vtkCollection())
        self.application_logic.SetViewLogics(vtk.vtkCollection())
        for factory in (
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(self.application_logic)

    def _make_logic(self, name: str, class_name: str) -> slicer.vtkMRMLAbstractLogic:
        logic = getattr(slicer, class_name)()
        if hasattr(logic, "SetModuleShareDirectory"):
            logic.SetModuleShareDirectory(str(self.home / "share" / name))
        logic.SetMRMLApplicationLogic(self.application_logic)
        logic.SetMRMLScene(self.scene)
        self.application_logic.SetModuleLogic(name, logic)
        return logic
