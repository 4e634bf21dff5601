"""The sizes of all measurements: full on a card, or tiny to see whether they run."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from mednext.model.description import NetworkSpec
from mednext.network.mednext import VARIANTS, MedNeXt

CLASSES = 14


@dataclass(frozen=True)
class Scale:
    """Sizes of all measurements.

    Attributes:
        sides: of a patch `(Z, Y, X)`.
        check_sides: of the patch on which numbers are compared.
        voxels: of a scan along x, y, z.
        batch: of a training step.
        rounds: of every measurement.
        calls: before the rounds, which compile and allocate.
    """

    sides: tuple[int, int, int]
    check_sides: tuple[int, int, int]
    voxels: tuple[int, int, int]
    batch: int
    rounds: int
    calls: int
    tiny: bool = False

    def spec(self, name: str) -> NetworkSpec:
        """The network of this name, such as "L5"; tiny, of one block in each stage."""
        kernel = int(name[1:])
        if self.tiny:
            return NetworkSpec(None, 1, 3, kernel, (2,) * 9, (1,) * 9, channels=4)
        size = VARIANTS[name[0]]
        return NetworkSpec(name[0], 1, CLASSES, kernel, size.expansion, size.blocks)

    def network(self, name: str, deep_supervision: bool = False) -> MedNeXt:
        """The same random weights for the same name."""
        torch.manual_seed(0)
        spec = self.spec(name)
        return MedNeXt(
            1, spec.num_classes, spec.expansion, spec.blocks, spec.kernel_size,
            deep_supervision=deep_supervision, channels=spec.channels,
        )  # fmt: skip

    def image(self, sides: tuple[int, int, int], count: int = 1) -> torch.Tensor:
        """Random numbers `(count, 1, Z, Y, X)`, on the CPU."""
        return torch.randn(count, 1, *sides, generator=torch.Generator().manual_seed(1))


FULL = Scale((128, 128, 128), (64, 64, 64), (512, 512, 300), 2, 20, 3)
TINY = Scale((16, 16, 32), (16, 16, 32), (40, 24, 20), 1, 1, 1, tiny=True)
