"""Whether inference should keep the largest component of a structure only, as nnU-Net decides it."""

from __future__ import annotations

import numpy as np
from mednext.errors import OptionError
from mednext.inference.labelling.largest_components import keep_largest_components
from mednext.model.description import Model

from .metrics import dice


class KeptLargest:
    """Compares each label's Dice with and without all but its largest component, over many cases.

    nnU-Net v2 keeps the largest component of a label where that raises the label's mean Dice over the
    validation cases of all folds. It also tries the foreground as a whole, which bundles do not have.

    Args:
        model: of labels; its own clean-up must be off while this is measured.

    Raises:
        OptionError: the model is one of regions, or cleans up already.
    """

    def __init__(self, model: Model) -> None:
        if model.output == "regions":
            raise OptionError("Regions lie within each other: their components are not cleaned up here.")
        if model.keep_largest:
            raise OptionError(
                f"{model.name} keeps largest components already: empty 'keep_largest' in its model.json."
            )
        self._names = {label.value: label.name for label in model.labels}
        self._fully_connected = model.pipeline == "nnunet_v2"
        self._dice: dict[int, list[tuple[float, float]]] = {value: [] for value in self._names}

    def judge(self, truth: np.ndarray, result: np.ndarray) -> None:
        """Take the labels `(Z, Y, X)` of one case into account."""
        cleaned = result.copy()
        keep_largest_components(cleaned, list(self._names), self._fully_connected)
        for value, pairs in self._dice.items():
            wanted, before, after = (each == value for each in (truth, result, cleaned))
            if wanted.any() or before.any():
                pairs.append((dice(wanted, before), dice(wanted, after)))

    def decided(self) -> list[int]:
        """The labels whose mean Dice rises."""
        return [value for value in self._dice if self._means(value)[1] > self._means(value)[0]]

    def text(self) -> str:
        """The decision for each label, in Markdown."""
        kept = self.decided()
        lines = ["| label | Dice | of its largest component alone | kept alone |", "|---|---|---|---|"]
        for value, name in self._names.items():
            before, after = self._means(value)
            lines.append(f"| {name} | {before:.4f} | {after:.4f} | {'yes' if value in kept else 'no'} |")
        return "\n".join(lines) + "\n"

    def _means(self, value: int) -> tuple[float, float]:
        before, after = np.mean(self._dice[value] or [(0.0, 0.0)], axis=0)
        return float(before), float(after)
