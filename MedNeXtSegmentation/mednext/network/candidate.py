"""A formulation of a network, how exact it must be, and the walk through a network that all share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from .blocks import DownBlock, MedNeXtBlock, UpBlock
from .mednext import MedNeXt

FULL, HALF = 1e-4, 5e-2  # tolerances, of the largest logit; usual differences are 1e-6 and 1e-2


@dataclass(frozen=True)
class Formulation:
    """A way to compute a network.

    Attributes:
        name: for the log and the provenance.
        make: makes the network.
        tolerance: largest accepted difference from the plain logits, in units of the largest logit.
        frugal: it needs far less memory than the plain network.
    """

    name: str
    make: Callable[[], nn.Module]
    tolerance: float = FULL
    frugal: bool = False


def steps(network: nn.Module) -> list[tuple[MedNeXtBlock, int, int]]:
    """The blocks in the order of a pass, each with the levels of its input and its output.

    Level 0 has the voxels of the image, level 4 those of the bottleneck.
    """
    found, level = [], 0
    for block in network.modules():  # MedNeXt adds them in the order of a pass
        if isinstance(block, MedNeXtBlock):
            after = level + isinstance(block, DownBlock) - isinstance(block, UpBlock)
            found.append((block, level, after))
            level = after
    return found


def is_usual(network: nn.Module) -> bool:
    """True for a MedNeXt of three dimensions with one head, whose resampling is by blocks.

    False if its up blocks have `output_padding`. The fast formulations support no other network.
    """
    if not isinstance(network, MedNeXt) or network.dimensions != 3 or network.deep_supervision:
        return False
    resampling = [block for block, _, _ in steps(network) if block.stride > 1]
    return len(resampling) == 8 and not any(getattr(block, "output_padding", False) for block in resampling)
