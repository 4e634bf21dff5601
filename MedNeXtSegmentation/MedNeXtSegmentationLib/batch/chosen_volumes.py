"""The images that a user chose elsewhere in Slicer: below an item of the subject hierarchy, or in DICOM."""

from __future__ import annotations

from collections.abc import Iterable

import slicer
import vtk

from ..scene.subject_hierarchy import hierarchy_of_scene
from .scene_cases import Volume, isImage


def imagesBelow(item: int) -> list[Volume]:
    """The images at and below an item (a patient, a study, a folder, a volume), in the hierarchy's order."""
    hierarchy = hierarchy_of_scene(slicer.mrmlScene)
    if hierarchy is None or not item:
        return []
    below = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, below, True)
    items = [item, *(below.GetId(index) for index in range(below.GetNumberOfIds()))]
    return _images(hierarchy.GetItemDataNode(each) for each in items)


def selectedSeries() -> list[str]:
    """The SeriesInstanceUIDs that are selected in the DICOM module; none before it was opened."""
    import ctk

    module = getattr(slicer.modules, "DICOMInstance", None)
    browser = getattr(module, "browserWidget", None)
    if browser is None:
        return []
    try:
        if browser.useVisualDICOMBrowser:
            return list(browser.dicomVisualBrowser.patientView().selectedSeriesInstanceUIDs())
        return list(browser.dicomBrowser.selectedItems(ctk.ctkDICOMModel.SeriesType))
    except AttributeError:  # an earlier browser does not tell its selection
        return []


def loadedSeries(series: Iterable[str]) -> list[Volume]:
    """The images of these series, loaded from Slicer's DICOM database where the scene has none of them."""
    from DICOMLib import DICOMUtils

    images = []
    for uid in series:
        hierarchy = hierarchy_of_scene(slicer.mrmlScene)
        item = hierarchy.GetItemByUID("DICOM", uid) if hierarchy else 0
        found = imagesBelow(item)
        if not found:
            ids = DICOMUtils.loadSeriesByUID([uid])
            found = _images(slicer.mrmlScene.GetNodeByID(each) for each in ids)
        images += found
    return images


def _images(nodes: Iterable[slicer.vtkMRMLNode | None]) -> list[Volume]:
    found = [node for node in nodes if node is not None and node.IsA("vtkMRMLScalarVolumeNode")]
    return [node for node in found if isImage(node)]
