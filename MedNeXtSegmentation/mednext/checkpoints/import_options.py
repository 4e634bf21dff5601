"""What a user may add to what a foreign checkpoint says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

WhichWeights = Literal["final", "best"]


@dataclass(frozen=True)
class ImportOptions:
    """Facts and choices for importing a checkpoint; what the checkpoint says itself is not asked for.

    Attributes:
        task: task of the catalog whose labels the model has; gives names, colours and coded meanings.
        labels: name of each label value, where the checkpoint knows numbers only.
        orientation: what the axes i, j, k of the training images point to, such as "RAS".
        images: folder of the training images; their headers tell the orientation and the field of view.
        mirror_axes: axes 0, 1, 2 (z, y, x of the training's arrays) along which the training mirrored, where
            neither the checkpoint nor its trainer tells; fewer where these do. None leaves it to them.
        folds: the folds to take, "all" being the one trained on everything; None takes every numbered one.
        checkpoint: the last weights of the training, or those that did best in it.
        half: store the weights with 16 bits.
        description: JSON file with whatever `model.json` has and the checkpoint has not (MONAI).
        version, title, licence, citation, training_data: as in `model.Model`.
    """

    task: str | None = None
    labels: Mapping[int, str] | None = None
    orientation: str | None = None
    images: Path | None = None
    mirror_axes: tuple[int, ...] | None = None
    folds: tuple[int | str, ...] | None = None
    checkpoint: WhichWeights = "final"
    half: bool = True
    description: Path | None = None
    version: str = "1.0.0"
    title: str = ""
    licence: str = ""
    citation: str = ""
    training_data: str = ""
