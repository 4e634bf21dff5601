"""Sample data of the default model: one hippocampus, cut out of the ICBM152 average of 152 heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

CATEGORY = "MedNeXtSegmentation"
SAMPLE_NAME = "ICBM152Hippocampus"

# T1, 1 mm, without skull: the file of the package nilearn, at the commit that added it. Its licence allows
# use and distribution for any purpose. Copyright (C) 1993-2004 Louis Collins, McConnell Brain Imaging Centre,
# Montreal Neurological Institute, McGill University.
URL = (
    "https://raw.githubusercontent.com/nilearn/nilearn/a5fa8b96e3765dccd2a20005aead0c4229fa7653/"
    "nilearn/datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
)
SHA256 = "421a10e872fd6cadae7f61d358dffbcc1795a497d61ee76c5dda2503e1a1e9e6"

# Centres of boxes around the hippocampi (mm, RAS), and the size of the images that the model was trained on.
CENTRES_RAS = {"left": (-27.0, -22.0, -11.0), "right": (27.0, -22.0, -11.0)}
BOX_MM = (36.0, 52.0, 40.0)


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
