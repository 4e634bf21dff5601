"""The uncertainty of a result: the slice views jump from one uncertain place to the next."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from ...scene.result_record import uncertainty_of
from ...scene.results.uncertainty_node import NamedPlace, named_places_of
from ..messages import Messages

_OPACITY = 0.5


class UncertaintyView:
    """The buttons "Next uncertain place" and "Show uncertainty", hidden for a result without uncertainty."""

    def __init__(self, ui: Any, messages: Messages) -> None:
        self._ui = ui
        self._messages = messages
        self._uncertainty: slicer.vtkMRMLScalarVolumeNode | None = None
        self._places: list[NamedPlace] = []  # those that `_next` counts
        self._next = 0
        self._covered: list[tuple[slicer.vtkMRMLSliceCompositeNode, str | None, float]] = []
        ui.nextPlaceButton.connect("clicked()", self._goOn)
        ui.showUncertaintyButton.connect("toggled(bool)", self._lay)

    def show(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Show the buttons for a result, starting with its worst place."""
        uncertainty = uncertainty_of(node) if node else None
        if uncertainty is not self._uncertainty:
            self._ui.showUncertaintyButton.checked = False
            self._uncertainty = uncertainty
            self._places = []
        self._ui.nextPlaceButton.visible = self._ui.showUncertaintyButton.visible = uncertainty is not None

    def _goOn(self) -> None:
        """Jump to the next place, and from the last one to the first."""
        if self._uncertainty.GetScene() is None:
            self._messages.say(_("The uncertainty is no longer in the scene."))
            return
        places = named_places_of(self._uncertainty)
        if places != self._places:  # of another frame of a sequence, or moved by a transform
            self._places, self._next = places, 0
        if not places:
            self._messages.say(_("There is no uncertain place."))
            return
        number = self._next % len(places)
        self._next = number + 1
        slicer.modules.markups.logic().JumpSlicesToLocation(*places[number].position, True)
        told = _("Uncertain place {number} of {total}: {structures}.").format(
            number=number + 1,
            total=len(places),
            structures=", ".join(places[number].structures) or _("no structure was found here"),
        )
        self._messages.say(told)

    def _lay(self, on: bool) -> None:
        """Lay the uncertainty over the images, or restore the former foreground."""
        for composite, foreground, opacity in self._covered:
            composite.SetForegroundVolumeID(foreground)
            composite.SetForegroundOpacity(opacity)
        self._covered = []
        if not on or self._uncertainty is None or self._uncertainty.GetScene() is None:
            return
        for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
            self._covered.append(
                (composite, composite.GetForegroundVolumeID(), composite.GetForegroundOpacity())
            )
            composite.SetForegroundVolumeID(self._uncertainty.GetID())
            composite.SetForegroundOpacity(_OPACITY)
