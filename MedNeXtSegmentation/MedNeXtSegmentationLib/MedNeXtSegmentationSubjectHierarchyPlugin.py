"""The command "Segment with MedNeXt..." in the context menu of the subject hierarchy.

Slicer loads this file by itself, as a module of its own, and wants the class to have the file's name.
"""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _
from SubjectHierarchyPlugins import AbstractScriptedSubjectHierarchyPlugin

from MedNeXtSegmentationLib.batch.chosen_volumes import imagesBelow


class MedNeXtSegmentationSubjectHierarchyPlugin(AbstractScriptedSubjectHierarchyPlugin):
    """Offers to segment the images of a patient, study or folder in one go, or a single volume.

    Slicer shows no commands of plugins while several items are selected.
    """

    filePath = __file__

    def __init__(self, scriptedPlugin):
        scriptedPlugin.name = "MedNeXtSegmentation"
        AbstractScriptedSubjectHierarchyPlugin.__init__(self, scriptedPlugin)
        self._action = qt.QAction(_("Segment with MedNeXt..."), scriptedPlugin)
        self._action.objectName = "SegmentWithMedNeXtAction"
        self._action.connect("triggered()", self._onTriggered)

    def itemContextMenuActions(self):
        return [self._action]

    def showContextMenuActionsForItem(self, itemID):
        self._action.visible = bool(itemID) and bool(imagesBelow(itemID))

    def _onTriggered(self):
        images = imagesBelow(slicer.qSlicerSubjectHierarchyPluginHandler.instance().currentItem())
        slicer.util.selectModule("MedNeXtSegmentation")
        slicer.modules.mednextsegmentation.widgetRepresentation().self().segmentSeveral(images)
