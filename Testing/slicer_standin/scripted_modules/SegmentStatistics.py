"""Stand-in for Slicer's scripted module SegmentStatistics: its selectors, and no statistics."""

from __future__ import annotations

import qt
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class SegmentStatistics(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Segment Statistics"


class SegmentStatisticsWidget(ScriptedLoadableModuleWidget):
    """`slicer.modules.segmentstatistics.widgetRepresentation().self()`, with the names as in Slicer."""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.segmentationSelector = self._selector("vtkMRMLSegmentationNode")
        self.scalarSelector = self._selector("vtkMRMLScalarVolumeNode")
        self.scalarSelector.noneEnabled = True
        self.outputTableSelector = self._selector("vtkMRMLTableNode")
        self.outputTableSelector.noneEnabled = True
        self.applyButton = qt.QPushButton("Apply")
        self.applyButton.enabled = False
        self.layout.addWidget(self.applyButton)
        self.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.onNodeSelectionChanged)
        self.onNodeSelectionChanged()

    def enter(self):
        if self.segmentationSelector.currentNode() is None:
            node = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
            self.segmentationSelector.setCurrentNode(node)

    def onNodeSelectionChanged(self, _node=None):
        self.applyButton.enabled = self.segmentationSelector.currentNode() is not None

    def _selector(self, className):
        selector = slicer.qMRMLNodeComboBox()
        selector.nodeTypes = [className]
        selector.addEnabled = False
        selector.showChildNodeTypes = False
        selector.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(selector)
        return selector
