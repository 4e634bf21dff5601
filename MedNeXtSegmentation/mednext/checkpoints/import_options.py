"""The facts and choices that a user may add to a foreign checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..model.description import Skull

if TYPE_CHECKING:
    from ..network.blocks import GrnDenominator

WhichWeights = Literal["final", "best"]


@dataclass(frozen=True)
class ImportOptions:
    """Facts that a checkpoint does not contain, and choices for its import.

    Attributes:
        task: task of the catalog whose labels the model has; gives names, colours and coded meanings.
        labels: name of each label value, where the checkpoint knows numbers only.
        channels: names of the input images in the network's order, instead of the checkpoint's.
        orientation: directions of the axes i, j, k of the training images, such as "RAS".
        images: folder of the training images; their headers tell the orientation and the field of view.
        mirror_axes: axes 0, 1, 2 (z, y, x of the training's arrays) along which the training mirrored, if
            neither the checkpoint nor its trainer tells; or some of those that they tell. None for theirs.
        skull: "removed" or "present" in the training images, as in `model.Model`; "" as the task says.
        folds: the folds to take, "all" being the one trained on all cases; None takes every numbered one.
        checkpoint: the last weights of the training, or its best ones; None takes the last ones, or the only
            ones that are there.
        configuration: that of nnU-Net v2's plans that was trained, where the checkpoint does not tell it.
        part: the place of the network in a file with several, such as "ema".
        grn_denominator: "mean" or "sum" over the channels, by which global response normalisation divides;
            the weights of MedNeXt-v2 do not tell. None for that of the program where it is known.
        half: store the weights with 16 bits.
        description: JSON file with the fields of `model.json` that the checkpoint lacks (MONAI).
        version, title, licence, citation, training_data: as in `model.Model`.
    """

    task: str | None = None
    labels: Mapping[int, str] | None = None
    channels: tuple[str, ...] | None = None
    orientation: str | None = None
    images: Path | None = None
    mirror_axes: tuple[int, ...] | None = None
    skull: Skull = ""
    folds: tuple[int | str, ...] | None = None
    checkpoint: WhichWeights | None = None
    configuration: str | None = None
    part: str | None = None
    grn_denominator: GrnDenominator | None = None
    half: bool = True
    description: Path | None = None
    version: str = "1.0.0"
    title: str = ""
    licence: str = ""
    citation: str = ""
    training_data: str = ""
