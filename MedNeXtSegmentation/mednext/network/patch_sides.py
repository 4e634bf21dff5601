"""The sides of patches that MedNeXt can take; this file imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OptionError

SIDE_DIVISOR = 16  # four halvings: every side of a patch must be divisible by it


def check_patch(sides: Sequence[int]) -> None:
    """Check that MedNeXt can halve and normalise a patch of these sides in voxels.

    Raises:
        OptionError: a side is not divisible by 16, or all of them are 16.
    """
    if any(side < 1 or side % SIDE_DIVISOR for side in sides):
        raise OptionError(
            f"MedNeXt needs a patch whose sides are divisible by {SIDE_DIVISOR}, not {list(sides)}."
        )
    if all(side == SIDE_DIVISOR for side in sides):
        raise OptionError(
            f"A patch of {list(sides)} is one voxel at the bottom of MedNeXt, too few to normalise: one side "
            f"must have at least {2 * SIDE_DIVISOR} voxels."
        )
