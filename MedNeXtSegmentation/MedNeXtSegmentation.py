"""The scripted module: what Slicer loads. The work is done in `MedNeXtSegmentationLib`."""

from __future__ import annotations

import numpy as np
import slicer
from MedNeXtSegmentationLib.logic import MedNeXtSegmentationLogic
from MedNeXtSegmentationLib.panel.widget import MedNeXtSegmentationWidget
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

__all__ = [
    "MedNeXtSegmentation",
    "MedNeXtSegmentationLogic",
    "MedNeXtSegmentationTest",
    "MedNeXtSegmentationWidget",
]


class MedNeXtSegmentation(ScriptedLoadableModule):
    """Describes the module to Slicer."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("MedNeXt Segmentation")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations"]
        parent.contributors = ["The authors of SlicerMedNeXtSegmentation"]
        parent.helpText = _(
            "Segments organs, tumours and brain structures in CT and MR volumes with MedNeXt networks: "
            "choose what to segment, and press <b>Segment</b>. "
            "In the Python console: <code>MedNeXtSegmentationLogic().segment(volumeNode)</code>"
        )
        parent.acknowledgementText = _(
            "MedNeXt: Roy et al., MICCAI 2023 (https://arxiv.org/abs/2303.09975). "
            "The hippocampus model was trained on the Medical Segmentation Decathlon (CC BY-SA 4.0)."
        )


class MedNeXtSegmentationTest(ScriptedLoadableModuleTest):
    """The self test, for a Slicer with torch installed."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_the_default_model_segments_a_volume()

    def test_the_default_model_segments_a_volume(self):
        voxels = np.random.default_rng(0).normal(1000, 200, size=(36, 52, 36)).astype(np.float32)
        volumeNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Crop")
        slicer.util.updateVolumeFromArray(volumeNode, voxels)
        segmentationNode = MedNeXtSegmentationLogic().segment(volumeNode, device="cpu", mirroring=False)
        segmentation = segmentationNode.GetSegmentation()
        names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
        self.assertEqual(names, ["anterior hippocampus", "posterior hippocampus"])
