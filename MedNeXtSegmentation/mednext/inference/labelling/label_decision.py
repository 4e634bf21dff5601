"""Decide on the label of each voxel, and on how sure a model is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...model.description import Model
from ...model.regions import Channels


@dataclass(frozen=True, eq=False)
class Decision:
    """The rule by which predictions become labels.

    Attributes:
        classes: channels that decide.
        painting: for regions the label of each and the threshold of a logit or a probability that it has to
            exceed, later ones over earlier ones; None for a softmax, whose largest value decides.
        beyond_painting: the label of each combination of regions that painting labels wrongly.
    """

    classes: int
    painting: tuple[Sequence[int], float] | None
    beyond_painting: dict[Channels, int]

    @classmethod
    def of(cls, model: Model) -> Decision:
        """The rule of a model."""
        threshold = 0.0 if model.pipeline == "nnunet_v2" else 0.5
        painting = None if model.output == "softmax" else (model.regions_class_order, threshold)
        return cls(model.network.num_classes, painting, model.beyond_painting)

    def labels(self, values: Tensor) -> Tensor:
        """Labels int32 `(Z, Y, X)` of predictions `(K, Z, Y, X)`, of which the first `classes` decide."""
        values = values[: self.classes]
        if self.painting is None:
            return values.max(dim=0).indices.to(torch.int32)
        order, threshold = self.painting
        labels = torch.zeros(values.shape[1:], dtype=torch.int32, device=values.device)
        for channel, label in zip(values, order, strict=True):
            labels[channel > threshold] = label
        found = values > threshold
        for channels, label in self.beyond_painting.items():
            only = [number in channels for number in range(len(values))]
            wanted = torch.tensor(only, device=values.device).view(-1, 1, 1, 1)
            labels[(found == wanted).all(dim=0)] = label
        return labels

    def entropy(self, values: Tensor) -> Tensor:
        """The entropy of predictions `(K, Z, Y, X)`, of which the last `classes` are probabilities."""
        return entropy(values[-self.classes :], "softmax" if self.painting is None else "regions")


def entropy(probabilities: Tensor, output: str) -> Tensor:
    """Predictive entropy in [0, 1] of probabilities `(K, Z, Y, X)`: 1 where the model is wholly unsure.

    For a softmax in units of log K; for regions the mean of each region's own, in units of log 2.
    """
    p = probabilities.clamp(0, 1)
    if output == "softmax":
        return torch.special.entr(p).sum(dim=0).div_(math.log(len(p))).clamp_(0, 1)
    return (torch.special.entr(p) + torch.special.entr(1 - p)).mean(dim=0).div_(math.log(2)).clamp_(0, 1)
