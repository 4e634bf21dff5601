"""How long and how fast a network learns."""

from __future__ import annotations

from dataclasses import dataclass

from mednext.errors import OptionError


@dataclass(frozen=True)
class Schedule:
    """The paper's by default.

    Attributes:
        epochs: each is followed by a validation on patches and a checkpoint.
        iterations: steps in an epoch.
        validation_iterations: batches of a validation.
        learning_rate: at its highest; None takes the network's own.
        warm_up_epochs: in which it rises linearly from 0.

    Raises:
        OptionError: the warm-up leaves nothing to decay, or the rate is not positive.
    """

    epochs: int = 1000
    iterations: int = 250
    validation_iterations: int = 50
    learning_rate: float | None = None
    warm_up_epochs: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.warm_up_epochs < self.epochs:
            raise OptionError(
                f"A warm-up of {self.warm_up_epochs} epochs does not fit into {self.epochs} epochs."
            )
        if self.learning_rate is not None and not 0 < self.learning_rate < 1:
            raise OptionError(f"The learning rate must lie between 0 and 1, not be {self.learning_rate}.")

    @property
    def steps(self) -> int:
        """Training steps in all."""
        return self.epochs * self.iterations


def recipe_schedule(
    task: str,
    kernel: int,
    variant: str = "",
    *,
    fine_tuning: bool = False,
    epochs: int | None = None,
    learning_rate: float | None = None,
    warm_up_epochs: int | None = None,
    iterations: int = 250,
    validation_iterations: int = 50,
) -> Schedule:
    """The reference's schedule for a MedNeXt, with its exception; or one to fine-tune, as MedNeXt-v2 does.

    Args:
        task: of the catalog; "" for none.
        kernel, variant: of the network.
        fine_tuning: from trained weights: 300 epochs, a warm-up of a sixth of all, and a tenth of the rate;
            MedNeXt-v2 keeps its rate, as its authors fine-tune.
        epochs, learning_rate, warm_up_epochs, iterations, validation_iterations: in place of the recipe's.

    Raises:
        OptionError: see `Schedule`.
    """
    usual = 1e-4 if (task, kernel) == ("KiTS19", 5) else 1e-3
    epochs = epochs or (300 if fine_tuning else 1000)
    if warm_up_epochs is None:
        warm_up_epochs = epochs // 6 if fine_tuning else 0
    lower = fine_tuning and not variant.startswith("v2")
    rate = learning_rate if learning_rate is not None else usual / 10 if lower else usual
    return Schedule(epochs, iterations, validation_iterations, rate, warm_up_epochs)
