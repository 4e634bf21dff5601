"""A small scripted module with a typical panel, for the tests of the stand-in: it counts bright voxels."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class ExamplePanel(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("Example Panel")
        parent.categories = ["Examples"]
        parent.contributors = ["The authors of SlicerMedNeXtSegmentation"]
        parent.helpText = _("Counts bright voxels.")


class Mode(enum.Enum):
    ABOVE = "above"
    BELOW = "below"


@parameterNodeWrapper
class ExamplePanelParameterNode:
    volume: slicer.vtkMRMLScalarVolumeNode
    region: slicer.vtkMRMLMarkupsROINode | None
    threshold: Annotated[float, WithinRange(0, 100)] = 50.0
    mode: Mode
    repeat: bool
    times: Annotated[int, WithinRange(1, 5), Default(2)]
    note: str = "no note"
    report: Path
    seen: list[str]


class ExamplePanelWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameterNode = None
        self.guiTag = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/ExamplePanel.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = ExamplePanelLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndImport)
        self.ui.countButton.connect("clicked(bool)", self.onCount)
        self.bind()

    def cleanup(self):
        self.removeObservers()
        self.unbind()

    def enter(self):
        self.bind()

    def exit(self):
        self.unbind()

    def onSceneStartClose(self, _caller, _event):
        self.unbind()

    def onSceneEndClose(self, _caller, _event):
        if self.parent.isEntered:
            self.bind()

    def onSceneEndImport(self, _caller, _event):
        # Selectors know no node while a scene is being read: show the parameter node's state afterwards.
        if self.parameterNode is not None:
            self.unbind()
            self.bind()

    def bind(self):
        if self.parameterNode is None:
            self.parameterNode = ExamplePanelParameterNode(self.logic.getParameterNode())
            self.guiTag = self.parameterNode.connectGui(self.ui)
            self.addObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.checkCanCount)
            self.checkCanCount()

    def unbind(self):
        if self.parameterNode is not None:
            self.parameterNode.disconnectGui(self.guiTag)
            self.removeObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.checkCanCount)
            self.parameterNode = None

    def checkCanCount(self, _caller=None, _event=None):
        self.ui.countButton.enabled = self.parameterNode.volume is not None

    def onCount(self):
        with slicer.util.tryWithErrorDisplay(_("Failed to count."), waitCursor=True):
            node = self.parameterNode
            count = self.logic.count(node.volume, node.threshold, node.mode)
            self.ui.resultLabel.text = _("{count} voxels").format(count=count)


class ExamplePanelLogic(ScriptedLoadableModuleLogic):
    def count(self, volume, threshold, mode):
        voxels = slicer.util.arrayFromVolume(volume)
        if not voxels.any():
            raise ValueError(f"{volume.GetName()} is empty")
        return int((voxels > threshold if mode is Mode.ABOVE else voxels < threshold).sum())
