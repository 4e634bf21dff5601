"""Sample data of the default model: one hippocampus, cut out of the ICBM152 average of 152 heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from . import icbm152

CATEGORY = "MedNeXtSegmentation"
SAMPLE_NAME = "ICBM152Hippocampus"


def offerSampleData(iconsFolder: Path) -> None:
    """Offer the sample in the module Sample Data, once.

    A click there leaves the crop in the scene. `SampleData.downloadSample`, which knows no custom
    downloader, leaves the whole head, named ICBM152; scripts call `downloadHippocampus`.
    """
    import SampleData

    logic = SampleData.SampleDataLogic
    logic.registerCustomSampleDataCategory(CATEGORY, title=_("MedNeXt Segmentation"))
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        uris=icbm152.URL,
        fileNames="ICBM152-2009a-T1.nii.gz",
        nodeNames="ICBM152",
        checksums=f"SHA256:{icbm152.SHA256}",
        thumbnailFileName=str(iconsFolder / f"{SAMPLE_NAME}.png"),
        customDownloader=downloadHippocampus,
    )


def downloadHippocampus(source: Any = None) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Download the head, leave a crop around its right hippocampus in the scene, and show it.

    source: as the module Sample Data gives it; by default the one that was registered.

    Returns the crop's node in a list, as the module Sample Data wants it; an empty one when the download
    failed, of which that module has told.
    """
    import SampleData

    logic = SampleData.SampleDataLogic()
    loaded = logic.downloadFromSource(source or logic.sourceForSampleName(SAMPLE_NAME))
    heads = [node for node in loaded if isinstance(node, slicer.vtkMRMLScalarVolumeNode)]
    if not heads:
        return []
    crop = cropAround(heads[0], icbm152.CENTRES_RAS["right"], "T1 right hippocampus")
    slicer.mrmlScene.RemoveNode(heads[0])
    slicer.util.setSliceViewerLayers(background=crop, fit=True)
    return [crop]


def cropAround(
    head: slicer.vtkMRMLScalarVolumeNode, centreRas: tuple[float, float, float], name: str
) -> slicer.vtkMRMLScalarVolumeNode:
    """The part of a head in a box of the model's size, by Slicer's module Crop Volume; not resampled."""
    scene = head.GetScene()
    box = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", f"{name} box")
    box.SetCenter(*centreRas)
    box.SetSize(*icbm152.BOX_MM)
    crop = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.modules.cropvolume.logic().CropVoxelBased(box, head, crop)
    crop.CreateDefaultDisplayNodes()
    scene.RemoveNode(box)
    return crop
