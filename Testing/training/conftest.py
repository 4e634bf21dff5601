"""A budget for nnU-Net's own trainings."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def nnunet_trains_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net's trainers make one step in one epoch."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    def start(trainer: Any) -> None:
        if type(trainer) is nnUNetTrainer:
            trainer.num_epochs = trainer.num_iterations_per_epoch = trainer.num_val_iterations_per_epoch = 1
        true_start(trainer)

    true_start = nnUNetTrainer.on_train_start
    monkeypatch.setattr(nnUNetTrainer, "on_train_start", start)
