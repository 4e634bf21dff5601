"""One run of a model: its checked options, and the remarks for the user."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from ..model.bundle import Bundle
from ..model.description import Model
from ..system.devices import device_name
from .options import Options
from .progress import Progress

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """One run of a model.

    Attributes:
        folds: whose predictions are averaged.
        step: largest distance of two tiles as a fraction of the patch.
        mirror_axes: spatial axes (0 = z, 1 = y, 2 = x) of the mirrored copies.
        remarks: sentences for the user, which the result keeps.
    """

    bundle: Bundle
    options: Options
    folds: tuple[int, ...]
    step: float
    mirror_axes: tuple[int, ...]
    progress: Callable[[Progress], None]
    cancelled: Callable[[], bool] | None
    remarks: list[str] = field(default_factory=list)

    @property
    def model(self) -> Model:
        return self.bundle.model

    def remark(self, remark: str, stage: str = "network") -> None:
        """Report a remark now, and keep it with the result; a repeated one is only logged."""
        logger.warning(remark)
        if remark not in self.remarks:
            self.remarks.append(remark)
            self.progress(Progress(stage, 0, 1, remark=remark))

    def remark_full_memory(self, device: torch.device, sums: torch.device, stage: str = "network") -> None:
        """Report that the memory of a device was full while it, or it and the CPU, had networks and sums."""
        full = f"The memory of {device_name(device)} was full"
        if sums.type != "cpu":
            more = "a part of the work moved to the computer's memory, which takes a little longer."
        else:
            more = (
                "the networks ran on the CPU, which takes much longer. Limit the work to a region, or end "
                "other programs that use the device."
            )
        self.remark(f"{full}: {more}", stage)
