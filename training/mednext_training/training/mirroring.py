"""Along which axes training mirrors: not from side to side where labels name a side."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mednext.checkpoints.nnunet.mirroring import names_side

logger = logging.getLogger(__name__)

_READER = "SimpleITKIO"  # of nnU-Net, for NIfTI and most other files: keeps the axes as they are stored


def mirrored_axes(
    description: Mapping[str, Any], plans: Mapping[str, Any], usual: Sequence[int], dimensions: int = 3
) -> tuple[int, ...] | None:
    """The axes of the training's arrays along which patches are mirrored, of `usual`.

    A network that is taught mirrored images with a label such as "left hippocampus" cannot tell the sides of
    what looks alike. The tasks of the catalog are mirrored as the reference does.

    Args:
        description, plans: see `read_plans`.
        dimensions: of the patches; those of 2 are slices across the first axis.

    Returns:
        None for no axis, as nnU-Net has it.
    """
    sided = [name for name in description["labels"] if names_side(name)]
    if not sided or description.get("task"):
        return tuple(usual)
    orientation = str(description.get("orientation", ""))
    side = [place for place, letter in enumerate(orientation) if letter in "LR"]
    if not side or plans.get("image_reader_writer", _READER) != _READER:
        logger.warning(
            "The label %r names a side, and nothing is mirrored, since it is not known which axis runs from "
            "side to side: plan again.",
            sided[0],
        )
        return None
    axis = list(plans.get("transpose_forward", (0, 1, 2))).index(2 - side[0]) - (3 - dimensions)
    logger.info("Not mirrored along axis %d, from side to side: %r names a side.", axis, sided[0])
    return tuple(each for each in usual if each != axis) or None
