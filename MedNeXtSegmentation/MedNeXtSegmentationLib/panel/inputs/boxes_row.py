"""The row on the boxes of both sides, for a model that finds its structure in a whole image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from mednext.errors import MedNeXtError
from mednext.inference.options import Options
from mednext.locating.whole_image import wants_boxes
from mednext.model.description import Model
from mednext.model.location import Location
from mednext.system.shown_text import shown
from slicer.i18n import tr as _

from ...scene.side_boxes import Boxes, boxes_of, moved_boxes, place_boxes, remove_boxes
from ...scene.volumes.channels_from_nodes import channels_from_nodes

Volume = slicer.vtkMRMLScalarVolumeNode


class BoxesRow:
    """Names the region of a run without a box, and offers to find moved boxes again.

    onChanged: is called when the user has removed the boxes.
    """

    def __init__(self, ui: Any, onChanged: Callable[[], None]) -> None:
        self._ui = ui
        self._onChanged = onChanged
        self._volume: Volume | None = None
        self._location: Location | None = None
        ui.findAgainButton.connect("clicked()", self._findAgain)
        ui.placeBoxesButton.connect("clicked()", self._place)

    def show(
        self, model: Model | None, volume: Volume | None, roi: slicer.vtkMRMLMarkupsROINode | None
    ) -> None:
        """Show the row for the first channel of a run."""
        finds = model is not None and volume is not None and findsBoxes(model, volume)
        self._volume = volume if finds and roi is None else None
        self._ui.roiSelector.noneDisplay = _("Find automatically") if finds else _("Whole image")
        moved = self.moved
        self._ui.boxesLabel.visible = self._volume is not None
        self._location = model.location if model else None
        self._ui.findAgainButton.visible = bool(moved)
        self._ui.placeBoxesButton.visible = self._volume is not None and not self.nodes()
        if finds:
            self._ui.boxesLabel.text = shown(self._sentence(model.location.structure, moved))

    @property
    def moved(self) -> Boxes:
        """The boxes that the user has moved, in which the next run segments."""
        return moved_boxes(self._volume) if self._volume is not None else {}

    def nodes(self) -> list[slicer.vtkMRMLNode]:
        """The boxes in the scene, whose changes concern the row."""
        return list(boxes_of(self._volume).values()) if self._volume is not None else []

    def _sentence(self, structure: str, moved: Boxes) -> str:
        if moved:
            return _("The boxes were moved: the next run segments in them.")
        if self.nodes():
            return _("If a box is in the wrong place, move it in the views, and segment.")
        return _("This is a whole head: the left and the right {structure} are found first.").format(
            structure=structure
        )

    def _place(self) -> None:
        if self._volume is not None and self._location is not None:
            place_boxes(self._volume, self._location)
        self._onChanged()

    def _findAgain(self) -> None:
        if self._volume is not None:
            remove_boxes(boxes_of(self._volume))
        self._onChanged()


def findsBoxes(model: Model, volume: Volume) -> bool:
    """Whether a run with this model and without a region finds the boxes of both sides in a volume."""
    if model.location is None:
        return False
    try:
        (channel,) = channels_from_nodes([volume])
    except MedNeXtError:  # the checks report it
        return False
    return wants_boxes(model, channel.geometry, Options())
