"""The scripted module that Slicer loads; `MedNeXtSegmentationLib` does the work."""

from __future__ import annotations

import importlib.util
import time
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer
from MedNeXtSegmentationLib.panel.widget import MedNeXtSegmentationWidget
from MedNeXtSegmentationLib.sample_data import downloadHippocampus, offerSampleData
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

if TYPE_CHECKING:
    from MedNeXtSegmentationLib.logic import MedNeXtSegmentationLogic

__all__ = [
    "MedNeXtSegmentation",
    "MedNeXtSegmentationLogic",
    "MedNeXtSegmentationTest",
    "MedNeXtSegmentationWidget",
    "registerSampleData",
]


def __getattr__(name: str) -> Any:
    """Import the logic at its first use, since Slicer loads this file at its start."""
    if name != "MedNeXtSegmentationLogic":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from MedNeXtSegmentationLib.logic import MedNeXtSegmentationLogic

    return MedNeXtSegmentationLogic


class MedNeXtSegmentation(ScriptedLoadableModule):
    """Describes the module to Slicer."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MedNeXt Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Sequences", "CropVolume", "SubjectHierarchy"]
        parent.contributors = ["The authors of SlicerMedNeXtSegmentation"]
        parent.helpText = _(
            "Segments organs, tumours and brain structures in CT and MR volumes with MedNeXt networks: "
            "choose what to segment, and press <b>Segment</b>. "
            "In the Python console: <code>MedNeXtSegmentationLogic().segment(volumeNode)</code>"
        )
        parent.acknowledgementText = _(
            "MedNeXt: Roy et al., MICCAI 2023 (https://arxiv.org/abs/2303.09975). "
            "The hippocampus model was trained on the Medical Segmentation Decathlon (CC BY-SA 4.0). "
            "The sample data is a part of the ICBM152 template: Copyright (C) 1993-2004 Louis Collins, "
            "McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", registerContextMenu)


def registerContextMenu():
    """Offer the module in the context menu of the subject hierarchy."""
    from MedNeXtSegmentationLib.context_menu import offerInSubjectHierarchy

    offerInSubjectHierarchy()


def registerSampleData():
    """Offer the sample data in the module Sample Data."""
    offerSampleData(Path(__file__).parent / "Resources" / "Icons")


class MedNeXtSegmentationTest(ScriptedLoadableModuleTest):
    """The self test. Tests without torch, or without their download, are skipped with a sentence."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (
            self.test_a_colour_volume_is_refused_in_a_sentence,
            self.test_one_click_segments_a_volume,
            self.test_the_sample_data_has_a_hippocampus,
        ):
            self.setUp()
            try:
                test()
            except unittest.SkipTest as reason:
                self.delayDisplay(_("Skipped: {reason}").format(reason=reason))
        self.delayDisplay(_("The self test has passed."))

    def test_a_colour_volume_is_refused_in_a_sentence(self):
        from mednext.errors import UnsupportedImageError
        from MedNeXtSegmentationLib.logic import MedNeXtSegmentationLogic

        volumeNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "Photograph")
        slicer.util.updateVolumeFromArray(volumeNode, np.zeros((4, 5, 6, 3), np.uint8))
        with self.assertRaisesRegex(UnsupportedImageError, '"Photograph" has 3 numbers per voxel'):
            MedNeXtSegmentationLogic().segment(volumeNode)

    def test_one_click_segments_a_volume(self):
        self._needEngine()
        volumeNode = self._addVolume()
        widget = slicer.util.getModuleWidget("MedNeXtSegmentation")
        widget.enter()  # as the module selector does, which needs a main window
        parameters = widget.panel.parameters
        parameters.choice = "hippocampus"
        widget.ui.segmentButton.click()
        while widget.isBusy():
            slicer.app.processEvents()
            time.sleep(0.01)
        self.assertFalse(widget.ui.errorLabel.visible, widget.ui.errorLabel.text)
        self._checkResult(parameters.result, volumeNode)

    def test_the_sample_data_has_a_hippocampus(self):
        from MedNeXtSegmentationLib.logic import MedNeXtSegmentationLogic

        self._needEngine()
        registerSampleData()
        crops = downloadHippocampus()
        if not crops:
            self.skipTest("The sample data could not be downloaded.")
        segmentationNode = MedNeXtSegmentationLogic().segment(crops[0], mirroring=False)
        self._checkResult(segmentationNode, crops[0])
        front, back = (
            np.array(segmentationNode.GetSegmentCenterRAS(name))
            for name in segmentationNode.GetSegmentation().GetSegmentIDs()
        )
        # In ICBM152 the right hippocampus lies around (27, -22, -11) mm, its anterior part below and before.
        self.assertLess(np.linalg.norm((front + back) / 2 - (27, -22, -15)), 6)
        self.assertGreater(front[1], back[1] + 10)
        self.assertLess(front[2], back[2] - 5)

    def _needEngine(self):
        """Skip without torch, which is only looked up: it stays out of this process."""
        missing = [name for name in ("torch", "safetensors") if importlib.util.find_spec(name) is None]
        if missing:
            self.skipTest(f"{' and '.join(missing)} not installed: the panel leads through the installation.")

    def _addVolume(self):
        """A volume under a transform, in a study of a patient."""
        scene = slicer.mrmlScene
        volumeNode = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "T1 crop")
        voxels = np.random.default_rng(0).normal(1000, 200, size=(36, 48, 32)).astype(np.float32)
        slicer.util.updateVolumeFromArray(volumeNode, voxels)
        volumeNode.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLLinearTransformNode").GetID())
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
        study = hierarchy.CreateStudyItem(patient, "Study")
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(volumeNode), study)
        return volumeNode

    def _checkResult(self, segmentationNode, volumeNode):
        """Check names, codes, label values, and the place in space and in the study."""
        segmentation = segmentationNode.GetSegmentation()
        segments = [segmentation.GetNthSegment(n) for n in range(segmentation.GetNumberOfSegments())]
        self.assertEqual(
            [(segment.GetName(), segment.GetLabelValue()) for segment in segments],
            [("anterior hippocampus", 1), ("posterior hippocampus", 2)],
        )
        for segment, modifier in zip(segments, ("255549009^Anterior", "255551008^Posterior"), strict=True):
            self.assertIn("SCT^5366008^Hippocampus", segment.GetTerminology())
            self.assertIn(modifier, segment.GetTerminology())
        role = segmentationNode.GetReferenceImageGeometryReferenceRole()
        self.assertIs(segmentationNode.GetNodeReference(role), volumeNode)
        self.assertEqual(segmentationNode.GetTransformNodeID(), volumeNode.GetTransformNodeID())
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
        parents = [
            hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node))
            for node in (segmentationNode, volumeNode)
        ]
        self.assertEqual(*parents)
