"""Means of mirrored copies and sums of tiles: the arguments of `accumulation` and of its kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .tiles import Shape


@dataclass(frozen=True)
class Averaged:
    """The averaged values: logits, then probabilities (softmax, or a sigmoid for each region)."""

    classes: int
    logits: bool
    probabilities: bool
    regions: bool

    @property
    def outputs(self) -> int:
        """Channels of a mean."""
        return self.classes * (self.logits + self.probabilities)


@dataclass(frozen=True)
class Copies:
    """Consecutive images of a batch that are mirrored copies of one tile.

    Attributes:
        mean: `(outputs, Z, Y, X)` float32, that they are added to.
        flips: of each, the axes of `(classes, Z, Y, X)` along which it is mirrored.
        first: the mean may hold anything: it begins with these.
        divisor: of the mean once they were added.
    """

    mean: Tensor
    flips: Sequence[tuple[int, ...]]
    first: bool = True
    divisor: int = 1


@dataclass(frozen=True)
class Target:
    """Sums `(K, Z, Y, X)` float32, contiguous, and the corner in them where a tile's first voxel is."""

    sums: Tensor
    corner: Shape
