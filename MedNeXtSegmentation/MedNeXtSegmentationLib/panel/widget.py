"""The widget class that Slicer loads at its start; it imports the panel when the user opens it."""

from __future__ import annotations

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin


class MedNeXtSegmentationWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel in Slicer."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panel = None

    def setup(self):
        from ..logic import MedNeXtSegmentationLogic
        from .panel import Panel
        from .sections import loadPanel

        ScriptedLoadableModuleWidget.setup(self)
        root = loadPanel(lambda name: self.resourcePath(f"UI/{name}"))
        self.layout.addWidget(root)
        self.ui = slicer.util.childWidgetVariables(root)
        self.logic = MedNeXtSegmentationLogic()
        self.panel = Panel(root, self.ui, self.logic, self.resourcePath)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        # After the selectors, which notice a closed or read scene only at its end.
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneEndClose, priority=-1.0)
        self.addObserver(scene, scene.EndImportEvent, self._onSceneEndImport, priority=-1.0)

    def cleanup(self):
        self.removeObservers()
        if self.panel is not None:  # None after a failed setup
            self.panel.abandon()

    def enter(self):
        self.panel.enter()

    def isBusy(self) -> bool:
        """Whether a run or an installation is running."""
        return self.panel.isBusy()

    def segmentSeveral(self, volumes):
        """Offer to segment these images in one go."""
        self.panel.segmentSeveral(volumes)

    def _onSceneStartClose(self, _caller, _event):
        self.panel.forgetScene()

    def _onSceneEndClose(self, _caller, _event):
        if self.parent.isEntered:
            self.panel.bind()

    def _onSceneEndImport(self, _caller, _event):
        self.panel.bindAgain()
