"""Sample data of the default model: one hippocampus, cut out of the ICBM152 average of 152 heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .icbm152 import BOX_MM, CENTRES_RAS, SHA256, URL

CATEGORY = "MedNeXtSegmentation"
SAMPLE_NAME = "ICBM152Hippocampus"


def offerSampleData(iconsFolder: Path) -> None:
    """Offer the sample in the module Sample Data, once.

    A click there loads the crop. `SampleData.downloadSample`, which knows no custom downloader, loads the
    whole head, named ICBM152; scripts call `downloadHippocampus`.
    """
    import SampleData

    logic = SampleData.SampleDataLogic
    logic.registerCustomSampleDataCategory(CATEGORY, title=_("MedNeXt Segmentation"))
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        uris=URL,
        fileNames="ICBM152-2009a-T1.nii.gz",
        nodeNames="ICBM152",
        checksums=f"SHA256:{SHA256}",
        thumbnailFileName=str(iconsFolder / f"{SAMPLE_NAME}.png"),
        customDownloader=downloadHippocampus,
    )


def downloadHippocampus(source: Any = None) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Download the head, and load and show a crop around its right hippocampus.

    source: an entry of the module Sample Data; by default the registered one.

    Returns the crop's node in a list, as the module Sample Data expects; an empty list after a failed
    download, which that module reports.
    """
    import SampleData

    logic = SampleData.SampleDataLogic()
    loaded = logic.downloadFromSource(source or logic.sourceForSampleName(SAMPLE_NAME))
    heads = [node for node in loaded if isinstance(node, slicer.vtkMRMLScalarVolumeNode)]
    if not heads:
        return []
    crop = cropAround(heads[0], CENTRES_RAS["right"], "T1 right hippocampus")
    slicer.mrmlScene.RemoveNode(heads[0])
    slicer.util.setSliceViewerLayers(background=crop, fit=True)
    return [crop]


def hasSample(name: str) -> bool:
    """Whether the module Sample Data has a data set of this name."""
    sources = getattr(slicer.modules, "sampleDataSources", {})
    return any(source.sampleName == name for some in sources.values() for source in some)


def loadSample(name: str) -> list[slicer.vtkMRMLScalarVolumeNode]:
    """Download and load a data set of the module Sample Data; no volumes after a failed download."""
    import SampleData

    logic = SampleData.SampleDataLogic()
    source = logic.sourceForSampleName(name)
    load = source.customDownloader or logic.downloadFromSource
    return [node for node in load(source) if isinstance(node, slicer.vtkMRMLScalarVolumeNode)]


def cropAround(
    head: slicer.vtkMRMLScalarVolumeNode, centreRas: tuple[float, float, float], name: str
) -> slicer.vtkMRMLScalarVolumeNode:
    """Crop a head to a box of the model's size with Slicer's module Crop Volume, without resampling."""
    scene = head.GetScene()
    box = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", f"{name} box")
    box.SetCenter(*centreRas)
    box.SetSize(*BOX_MM)
    crop = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.modules.cropvolume.logic().CropVoxelBased(box, head, crop)
    crop.CreateDefaultDisplayNodes()
    scene.RemoveNode(box)
    return crop
