"""One volume selector for each channel of the chosen model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from mednext.model.description import Channel
from mednext.system.shown_text import shown, tool_tip
from slicer.i18n import tr as _

from ...scene.results.uncertainty_node import is_uncertainty
from ..tab_order import partThatTakesKeys

Volume = slicer.vtkMRMLScalarVolumeNode


class ChannelSelectors:
    """The first rows of a form layout, which follow the chosen model.

    onChosen: gets the index of a channel and its new volume, None after its removal.
    onAdded: is called when a volume is added to the scene.
    onRows: is called when the rows change.
    """

    def __init__(
        self,
        layout: Any,
        onChosen: Callable[[int, Volume | None], None],
        onAdded: Callable[[], None],
        onRows: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._onChosen = onChosen
        self._onAdded = onAdded
        self._onRows = onRows
        self._channels: tuple[Channel, ...] = ()
        self._selectors: list[Any] = []
        self._showing = False

    def showChannels(self, channels: Sequence[Channel]) -> None:
        """Build the rows for these channels, unless they exist."""
        if tuple(channels) == self._channels:
            return
        self._channels = tuple(channels)
        while self._selectors:
            self._selectors.pop()
            self._layout.removeRow(0)
        for index, channel in enumerate(channels):
            selector = self._newSelector(index, channel)
            # In a label with a buddy "&" marks a key.
            label = qt.QLabel()
            label.textFormat = qt.Qt.PlainText
            label.text = _("{channel}:").format(channel=shown(channel.name).replace("&", "&&"))
            label.toolTip = selector.toolTip
            label.setBuddy(partThatTakesKeys(selector))
            self._layout.insertRow(index, label, selector)
            self._selectors.append(selector)
        self._onRows()

    @property
    def widgets(self) -> Sequence[Any]:
        """The selectors, from top to bottom."""
        return self._selectors

    def setNodes(self, nodes: Sequence[Volume | None]) -> None:
        """Show these volumes without calling `onChosen`."""
        self._showing = True
        try:
            for selector, node in zip(self._selectors, nodes, strict=True):
                selector.setCurrentNode(node)
        finally:
            self._showing = False

    def volumes(self) -> list[Volume]:
        """All volumes but uncertainties, in the scene's order."""
        if not self._selectors:
            return []
        first = self._selectors[0]
        nodes = [first.nodeFromIndex(index) for index in range(first.nodeCount())]
        return [node for node in nodes if not is_uncertainty(node)]

    def _newSelector(self, index: int, channel: Channel) -> Any:
        selector = slicer.qMRMLNodeComboBox()
        selector.objectName = f"channelSelector{index}"
        selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        selector.showChildNodeTypes = False  # label maps and colour images are no input
        selector.noneEnabled = True
        selector.addEnabled = False
        selector.removeEnabled = False
        selector.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Fixed)  # long names widen no panel
        selector.minimumWidth = 120
        selector.noneDisplay = _("Select a volume")
        selector.toolTip = tool_tip(
            _("The {modality} image that the model takes as {channel}.").format(
                modality=channel.modality, channel=channel.name
            )
        )
        selector.setMRMLScene(slicer.mrmlScene)
        selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self._chosen(index, node))
        if index == 0:
            selector.connect("nodeAdded(vtkMRMLNode*)", lambda _node: self._onAdded())
        return selector

    def _chosen(self, index: int, node: Volume | None) -> None:
        if not self._showing:
            self._onChosen(index, node)
