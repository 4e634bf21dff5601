"""Set the learning rate of each epoch."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

_POWER = 0.9


class WarmUpAndDecay(LRScheduler):
    """A polynomial decay of power 0.9 per epoch, as nnU-Net has it, after a linear warm-up."""

    def __init__(self, optimizer: Optimizer, highest: float, epochs: int, warm_up: int = 0) -> None:
        self._highest, self._epochs, self._warm_up = highest, epochs, warm_up
        super().__init__(optimizer)

    def rate(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        if epoch < self._warm_up:
            return self._highest * (epoch + 1) / (self._warm_up + 1)
        done = (epoch - self._warm_up) / (self._epochs - self._warm_up)
        return self._highest * (1 - done) ** _POWER

    def step(self, epoch: int | None = None) -> None:
        """Set the rate of an epoch; nnU-Net calls this at its start."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(epoch or 0)
