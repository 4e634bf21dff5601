"""Check the volumes of a run: their number, their voxels, and whether they suit the model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..errors import ChannelError
from ..images.volume import Volume, check_volume, combine_channels
from ..model.description import Model
from .input_doubts import check_inputs, inputs_of


def checked_volume(volumes: Volume | Iterable[Volume], model: Model, insist: bool) -> Volume:
    """All channels of a model on the grid of the first, checked, with the doubts among the warnings.

    Raises the errors of `checked_volumes` and of `combine_channels`.
    """
    several, warnings = checked_volumes(volumes, model, insist)
    one = several[0] if len(several) == 1 else combine_channels(several)
    return replace(one, warnings=(*one.warnings, *warnings))


def checked_volumes(
    volumes: Volume | Iterable[Volume], model: Model, insist: bool
) -> tuple[list[Volume], tuple[str, ...]]:
    """The volumes as they are used, and sentences about every doubt whether they suit the model.

    Raises:
        ChannelError: not the channels that the model needs.
        UnsupportedImageError: an image that cannot be segmented.
        SuspectInputError: an image that looks certainly wrong, without `insist`.
    """
    several = [volumes] if isinstance(volumes, Volume) else list(volumes)
    count = sum(len(volume.array) for volume in several)
    if count != len(model.channels):
        names = ", ".join(channel.name for channel in model.channels)
        raise ChannelError(
            f"Model {model.name!r} needs {len(model.channels)} channel(s) in this order: {names}. "
            f"{count} were given."
        )
    several = [check_volume(volume, insist) for volume in several]
    found = check_inputs(model, [each for volume in several for each in inputs_of(volume)])
    if not insist:
        found.refuse()
    return several, found.warnings
