"""Resample a prediction to the grid of the image and write its labels, block by block.

nnU-Net resamples all logits at once; at the size of a CT with fourteen classes that takes many gigabytes.
Linear resampling needs two neighbours along each axis, so that labels are made as soon as these are finished.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ...model.description import Model
from ...network.native_library import Kernels
from ...segmentation import uncertainty_storage
from ..device_transfer import Download
from ..resampling import native as native_resampling
from ..resampling.matrices import along_axis, is_identity
from ..sliding_window import Block
from .label_decision import Decision

# Of resampled predictions at a time. On a CPU larger slabs were slower (cache); a card wants more work.
SLAB_BYTES, _SLAB_BYTES_OF_A_DEVICE = 2**24, 2**28


class LabelWriter:
    """Takes finished blocks of a prediction and writes labels and their uncertainty.

    Args:
        model: its output is a softmax or regions, of logits or probabilities.
        weights: for each axis the matrix (voxels wanted, voxels predicted) of `resampling.axis_weights`,
            order 1 or 0, on the device of the prediction; it may be a part of the whole matrix.
        labels: integer `(Z, Y, X)` to write into, its shape being the rows of the matrices; may be a view.
        uncertainty: uint16 of the same shape for `fixed_point`, or None.
    """

    def __init__(
        self,
        model: Model,
        weights: Sequence[Tensor],
        labels: np.ndarray,
        uncertainty: np.ndarray | None = None,
    ) -> None:
        self._decision = Decision.of(model)
        self._weights = weights
        self._labels = labels
        self._uncertainty = uncertainty
        self._rows, self._lines = _Neighbours(weights[0]), _Neighbours(weights[1])
        self._resampled = [axis for axis, matrix in enumerate(weights) if not is_identity(matrix)]
        self._row = self._line = 0  # the first that is not written; in the rows at work, the first line
        self._download = Download()

    def write(self, blocks: Iterable[Block]) -> None:
        """Write the labels of a whole prediction."""
        for block in blocks:
            self.add(block)
        self.finish()

    def add(self, block: Block) -> None:
        """Write every label whose predictions are known by now."""
        rows = self._rows.known(self._row, block.row + block.values.shape[1])
        lines = self._lines.known(self._line, block.line + block.values.shape[2])
        if rows.stop > rows.start and lines.stop > lines.start:
            self._write(rows, lines, block)
        self._line = lines.stop
        if self._line == self._labels.shape[1]:
            self._row, self._line = rows.stop, 0

    def finish(self) -> None:
        """Wait until everything is written; before that, the arrays may lack the last blocks."""
        self._download.finish()

    def _write(self, rows: slice, lines: slice, block: Block) -> None:
        row_bytes = 4 * (lines.stop - lines.start) * self._labels.shape[2]
        kernels = native_resampling.resampling_kernels()
        if kernels is not None and block.values.device.type == "cpu" and not self._decision.beyond_painting:
            slabs = [rows] if self._uncertainty is None else _slabs(rows, SLAB_BYTES // row_bytes)
            if all(self._write_natively(kernels, slab, lines, block) for slab in slabs):
                return
        size = SLAB_BYTES if block.values.device.type == "cpu" else _SLAB_BYTES_OF_A_DEVICE
        for slab in _slabs(rows, size // (row_bytes * len(block.values))):
            self._write_slab(slab, lines, block)

    def _needed(
        self, rows: slice, lines: slice, block: Block
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """The predictions that these labels depend on, and the weights for each axis."""
        row, line = self._rows.needed(rows), self._lines.needed(lines)
        values = block.values[
            :, row.start - block.row : row.stop - block.row, line.start - block.line : line.stop - block.line
        ]
        return values, (self._weights[0][rows, row], self._weights[1][lines, line], self._weights[2])

    def _write_natively(self, kernels: Kernels, rows: slice, lines: slice, block: Block) -> bool:
        values, weights = self._needed(rows, lines, block)
        labels = self._labels[rows, lines]
        uncertain = None if self._uncertainty is None else np.empty(labels.shape, dtype=np.float32)
        written = native_resampling.write_labels(
            kernels, values, weights, self._decision.classes, labels, uncertain, self._decision.painting
        )
        if written and uncertain is not None:
            self._keep(torch.from_numpy(uncertain), rows, lines)
        return written

    def _write_slab(self, rows: slice, lines: slice, block: Block) -> None:
        slab, weights = self._needed(rows, lines, block)
        for axis in self._resampled:
            slab = along_axis(slab, weights[axis], axis + 1)
        labels = self._decision.labels(slab)
        if self._labels.dtype == np.uint8:
            labels = labels.to(torch.uint8)  # a quarter of the bytes to copy
        self._download.begin(labels, self._labels[rows, lines])
        if self._uncertainty is not None:
            self._keep(self._decision.entropy(slab), rows, lines)

    def _keep(self, uncertain: Tensor, rows: slice, lines: slice) -> None:
        assert self._uncertainty is not None
        fixed = uncertain.mul_(uncertainty_storage.ONE).round_().to(torch.int32)
        self._download.begin(fixed, self._uncertainty[rows, lines])


def _slabs(rows: slice, height: int) -> Iterator[slice]:
    """These rows in slabs of at most `height` rows, at least one."""
    height = max(1, height)
    for start in range(rows.start, rows.stop, height):
        yield slice(start, min(start + height, rows.stop))


class _Neighbours:
    """Which voxels of a prediction each label depends on, along one axis with this matrix of weights."""

    def __init__(self, weights: Tensor) -> None:
        used = weights.cpu().numpy() != 0
        self._first = used.argmax(axis=1).tolist()
        self._stop = (used.shape[1] - used[:, ::-1].argmax(axis=1)).tolist()

    def known(self, start: int, available: int) -> slice:
        """The labels from `start` on that only depend on voxels before `available`."""
        stop = start
        while stop < len(self._stop) and self._stop[stop] <= available:
            stop += 1
        return slice(start, stop)

    def needed(self, labels: slice) -> slice:
        """The voxels that these labels depend on."""
        return slice(self._first[labels.start], self._stop[labels.stop - 1])
