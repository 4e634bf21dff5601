"""The memory that a run needs and the memory that is free: a line among the options, and warnings."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import qt
import slicer
from mednext.errors import MedNeXtError
from mednext.inference.memory.plan import MemoryPlan, device_kind
from mednext.locating.memory import plan_of
from mednext.model.description import Model
from mednext.system.devices import Accelerator
from mednext.system.free_memory import free_disk, free_memory, lies_in_memory
from mednext.system.shown_text import shown
from slicer.i18n import tr as _

from ...engine.worker_client import shared_client
from ...run_options import RunOptions
from ...scene.volumes.channels_from_nodes import channels_from_nodes

_WAIT_MS = 1000
_MOST_WAITS = 60  # torch takes seconds to start; a broken one never does
_USABLE = 0.9  # of a card's memory; the screen and other programs use the rest


class MemoryView:
    """The row "Memory" of the advanced options.

    onKnown: is called when the engine has reported its devices.
    """

    def __init__(self, ui: Any, onKnown: Callable[[], None]) -> None:
        self._ui = ui
        self._onKnown = onKnown
        self._waits = 0
        self._waiting = False
        self._say("")

    def check(
        self,
        model: Model,
        nodes: Sequence[slicer.vtkMRMLScalarVolumeNode],
        options: RunOptions,
        frames: int = 1,
    ) -> tuple[str, ...]:
        """Show the memory plan of a run, and return warnings on shortages.

        For a sequence with so many frames the uncertainty takes one byte for each voxel of each frame.
        """
        if options.server is not None:
            self._say(_("The networks run on {server}.").format(server=options.server.name))
            return ()
        accelerators = shared_client().accelerators()
        if accelerators is None:
            self._waitForEngine()
        device = _device(options.device, accelerators or ())
        try:
            plan = _plan(model, nodes, options, device)
            if options.uncertainty:
                plan = replace(plan, host=plan.host + (frames - 1) * _voxels(nodes[0]))
            if lies_in_memory(Path(tempfile.gettempdir())):
                plan = replace(plan, host=plan.host + plan.disk)
        except MedNeXtError:  # the other checks report it
            self._say("")
            return ()
        self._say(" ".join(_sentences(plan, device)))
        return tuple(_shortages(plan, device, options))

    def hide(self) -> None:
        """Hide the row when no run is possible."""
        self._say("")

    def _say(self, text: str) -> None:
        self._ui.memoryLabel.text = shown(text)
        for widget in (self._ui.memoryTitle, self._ui.memoryLabel):
            widget.visible = bool(text)

    def _waitForEngine(self) -> None:
        if not self._waiting and self._waits < _MOST_WAITS:
            self._waiting = True
            self._waits += 1
            qt.QTimer.singleShot(_WAIT_MS, self._askAgain)

    def _askAgain(self) -> None:
        self._waiting = False
        if shared_client().accelerators() is None:
            self._waitForEngine()
        else:
            self._onKnown()


def _device(chosen: str, accelerators: Sequence[Accelerator]) -> Accelerator | None:
    """The device of a run; None for the CPU."""
    wanted = [device for device in accelerators if chosen in ("auto", device.name)]
    return wanted[0] if wanted else None


def _plan(
    model: Model,
    nodes: Sequence[slicer.vtkMRMLScalarVolumeNode],
    options: RunOptions,
    device: Accelerator | None,
) -> MemoryPlan:
    channels = channels_from_nodes(nodes)
    kind = device_kind("cpu" if device is None else device.name)
    asked = options.optionsIn(nodes[0])
    voxels = [channel.array.dtype for channel in channels]
    return plan_of(model, asked, channels[0].geometry, voxels, kind)


def _voxels(volume: slicer.vtkMRMLScalarVolumeNode) -> int:
    return volume.GetImageData().GetNumberOfPoints()


def _sentences(plan: MemoryPlan, device: Accelerator | None) -> Iterator[str]:
    free = free_memory()
    if free is None:
        yield _("About {need}.").format(need=_gb(plan.host))
    else:
        yield _("About {need}; {free} are free.").format(need=_gb(plan.host), free=_gb(free))
    if device and plan.device:
        yield _("On {device} about {need} of {total}.").format(
            device=device.title, need=_gb(plan.device), total=_gb(device.memory_bytes)
        )


def _shortages(plan: MemoryPlan, device: Accelerator | None, options: RunOptions) -> Iterator[str]:
    smaller = _("limit the run to a smaller region") if options.roiNode else _("limit the run to a region")
    free, folder = free_memory(), Path(tempfile.gettempdir())
    if free is not None and plan.host > free:
        yield _(
            "The run needs about {need} of memory, and {free} are free: close other programs, or {smaller}."
        ).format(need=_gb(plan.host), free=_gb(free), smaller=smaller)
    if device and plan.device > _USABLE * device.memory_bytes:
        yield _(
            "The run needs about {need} on {device}, which has {total}: it may go on on the CPU, which takes "
            "much longer. To avoid that, {smaller}."
        ).format(need=_gb(plan.device), device=device.title, total=_gb(device.memory_bytes), smaller=smaller)
    left = free_disk(folder)
    if left is not None and plan.disk > left:
        yield _(
            "The run needs {need} for temporary files, and {folder} has {free} left: free space there."
        ).format(need=_gb(plan.disk), folder=folder, free=_gb(left))


def _gb(size: int) -> str:
    return _("{size:.1f} GB").format(size=size / 1e9)
