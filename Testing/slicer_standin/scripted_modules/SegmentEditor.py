"""Stand-in for Slicer's scripted module SegmentEditor: a panel with the editor that others hand nodes to."""

from __future__ import annotations

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget


class SegmentEditor(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = "Segment Editor"


class SegmentEditorWidget(ScriptedLoadableModuleWidget):
    """`slicer.modules.SegmentEditorWidget.editor`, as in Slicer."""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.editor = slicer.qMRMLSegmentEditorWidget()
        self.editor.setMRMLScene(slicer.mrmlScene)
        self.layout.addWidget(self.editor)
        self.enter()

    def enter(self):
        node = slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLSegmentEditorNode")
            node.UnRegister(None)
            node.SetSingletonTag("SegmentEditor")
            node = slicer.mrmlScene.AddNode(node)
        self.editor.setMRMLSegmentEditorNode(node)
