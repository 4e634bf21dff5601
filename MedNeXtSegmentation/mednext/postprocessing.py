"""From a prediction on the model's grid to labels on the source grid, row by row, and their clean-up.

nnU-Net resamples all logits at once; at the size of a CT with fourteen classes that takes many gigabytes.
Linear resampling needs two rows for one, so that labels are made as soon as the rows around them are done.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from . import native_resampling
from .model import Model
from .resampling import along_axis
from .sliding_window import Rows

_SLAB_BYTES = 2**24  # of resampled predictions at a time; larger slabs were slower (cache)


class LabelWriter:
    """Takes finished rows of a prediction and writes labels and their uncertainty.

    Args:
        model: says whether the output is a softmax or regions, and of logits or probabilities.
        weights: for each axis the matrix (rows wanted, rows predicted) of `resampling.axis_weights`,
            order 1 or 0, on the device of the prediction; it may be a part of the whole matrix.
        labels: integer `(Z, Y, X)` to write into, its shape being the rows of the matrices; may be a view.
        uncertainty: float32 of the same shape, or None.
    """

    def __init__(
        self,
        model: Model,
        weights: Sequence[Tensor],
        labels: np.ndarray,
        uncertainty: np.ndarray | None = None,
    ) -> None:
        self._model = model
        self._weights = weights
        self._labels = labels
        self._uncertainty = uncertainty
        used = weights[0] != 0
        self._first = used.int().argmax(dim=1).tolist()
        self._stop = (used.shape[1] - used.flip(1).int().argmax(dim=1)).tolist()
        self._next = 0

    def add(self, rows: Rows) -> None:
        """Write every label whose predictions are known by now."""
        available = rows.start + rows.values.shape[1]
        stop = self._next
        while stop < len(self._labels) and self._stop[stop] <= available:
            stop += 1
        if stop > self._next and not self._write_natively(slice(self._next, stop), rows):
            height = self._slab_height(rows.values.shape[0])
            for start in range(self._next, stop, height):
                self._write(slice(start, min(start + height, stop)), rows)
        self._next = stop

    def _slab_height(self, channels: int) -> int:
        return max(1, _SLAB_BYTES // (4 * channels * math.prod(self._labels.shape[1:])))

    def _needed(self, target: slice, rows: Rows) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The predictions that these rows of labels depend on, and the weights for each axis."""
        source = slice(self._first[target.start], self._stop[target.stop - 1])
        values = rows.values[:, source.start - rows.start : source.stop - rows.start]
        return values, (self._weights[0][target, source], self._weights[1], self._weights[2])

    def _write_natively(self, target: slice, rows: Rows) -> bool:
        kernels = native_resampling.resampling_kernels()
        if kernels is None or rows.values.device.type != "cpu":
            return False
        values, weights = self._needed(target, rows)
        classes = self._model.network.num_classes
        uncertainty = None if self._uncertainty is None else self._uncertainty[target]
        return native_resampling.write_labels(
            kernels, values, weights, classes, self._labels[target], uncertainty, self._painting
        )

    def _write(self, target: slice, rows: Rows) -> None:
        slab, weights = self._needed(target, rows)
        for axis in range(3):
            slab = along_axis(slab, weights[axis], axis + 1)
        self._labels[target] = self._decide(slab[: self._model.network.num_classes]).cpu().numpy()
        if self._uncertainty is not None:
            probabilities = slab[-self._model.network.num_classes :]
            self._uncertainty[target] = entropy(probabilities, self._model.output).cpu().numpy()

    @property
    def _painting(self) -> tuple[Sequence[int], float] | None:
        """For regions the labels in painting order, and what a logit, or a probability, has to exceed."""
        if self._model.output == "softmax":
            return None
        return self._model.regions_class_order, 0.0 if self._model.pipeline == "nnunet_v2" else 0.5

    def _decide(self, values: Tensor) -> Tensor:
        if self._painting is None:
            return values.max(dim=0).indices.to(torch.int32)
        order, threshold = self._painting
        labels = torch.zeros(values.shape[1:], dtype=torch.int32, device=values.device)
        for channel, label in zip(values, order, strict=True):
            labels[channel > threshold] = label
        return labels


def entropy(probabilities: Tensor, output: str) -> Tensor:
    """Predictive entropy in [0, 1] of probabilities `(K, Z, Y, X)`: 1 where nothing is known.

    For a softmax in units of log K; for regions the mean of each region's own, in units of log 2.
    """
    p = probabilities.clamp(0, 1)
    if output == "softmax":
        return torch.special.entr(p).sum(dim=0).div_(math.log(len(p))).clamp_(0, 1)
    return (torch.special.entr(p) + torch.special.entr(1 - p)).mean(dim=0).div_(math.log(2)).clamp_(0, 1)


def keep_largest_components(labels: np.ndarray, values: Sequence[int], fully_connected: bool) -> None:
    """Erase, in place, everything but the largest component of each label; components of equal size all stay.

    Args:
        labels: `(Z, Y, X)`.
        values: labels to clean up.
        fully_connected: voxels that share an edge or a corner are connected too. nnU-Net v2 does it so;
            for v1 they must share a face.
    """
    for value in values:
        mask = labels == value
        if not mask.any():
            continue
        components = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)), fully_connected)
        numbers = sitk.GetArrayViewFromImage(components)
        sizes = np.bincount(numbers.ravel())
        smaller = sizes < sizes[1:].max()
        smaller[0] = False  # component 0 is what does not have the label
        labels[smaller[numbers]] = 0
