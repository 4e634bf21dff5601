"""Doubts about the names of images that were given together: wrong channel, wrong order, different cases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ..images.description.image_description import ImageDescription
from ..images.description.image_kind import WEIGHTED, kind_of_text, weighting
from ..model.description import Channel
from .channel_matching import is_clearly, kinds_of
from .channel_names import without_channels
from .image_doubts import Doubt

_NUMBERED = re.compile(r"(.+)_(\d{4})(?:\.[A-Za-z.]+)?")  # nnU-Net's names of channels
# Words whose numbers do not identify patients.
_OF_A_SERIES = re.compile(r"series|ser?|s|scan|run|echo|acq|im|ima|img|image|slice|tr|te|mm|b|iso")


def misnamed(channels: Sequence[Channel], images: Sequence[ImageDescription]) -> dict[int, str]:
    """For each image that is surely wrong for its channel: the kind or the channel that its name means.

    An image is surely wrong if its name means another channel of the model, and cannot mean this one too (as
    a T1 without a word about contrast agent may). If all names mean other kinds, all images are wrong.
    """
    kinds = kinds_of(images)
    meant = [_meant(index, channels, images, kinds) for index in range(len(images))]
    wanted = [kind_of_text(channel.name) for channel in channels]
    pairs = list(zip(kinds, wanted, strict=True))
    unlike = [weighting(kind) != weighting(want) for kind, want in pairs]
    if all(kind in WEIGHTED and want in WEIGHTED for kind, want in pairs) and all(unlike):
        return dict(enumerate(kinds))
    return {
        index: channels[other].name
        for index, other in enumerate(meant)
        if other is not None and (unlike[index] or meant[other] is not None)
    }


def _meant(
    index: int, channels: Sequence[Channel], images: Sequence[ImageDescription], kinds: Sequence[str]
) -> int | None:
    """The channel that an image's name means, if it is not the image's own."""
    clear = [n for n, channel in enumerate(channels) if is_clearly(channel, images[index], kinds[index])]
    return clear[0] if clear and index not in clear else None


def name_doubts(channels: Sequence[Channel], images: Sequence[ImageDescription]) -> Iterator[Doubt]:
    """Doubts about names beside each other: different patients, examinations or numbers."""
    numbered = _NUMBERED.fullmatch(images[0].name) is not None
    yield from _numbers(channels, images)
    if len({image.patient_in_name for image in images} - {""}) > 1:
        patients = ", ".join(f'"{image.name}"' for image in images)
        yield Doubt(f"The images are of different patients by their names ({patients}).", True)
    elif len({image.session_in_name for image in images} - {""}) > 1:
        yield Doubt("The images are of different examinations by their names: the network expects one day.")
    elif not numbered and not images[0].patient_in_name and _cases_differ(channels, images):
        names = ", ".join(f'"{image.name}"' for image in images)
        yield Doubt(f"The numbers in the names ({names}) differ: are the images of one patient?")


def _numbers(channels: Sequence[Channel], images: Sequence[ImageDescription]) -> Iterator[Doubt]:
    """Doubts about nnU-Net's numbers at the ends of names, which are those of the channels."""
    matches = [_NUMBERED.fullmatch(image.name) for image in images]
    numbers = [int(match[2]) for match in matches if match]
    order = list(range(len(channels)))
    if len(numbers) < 2 or sorted(numbers) != order:
        return
    if numbers != order:
        wanted = ", ".join(f"_{n:04} ({channel.name})" for n, channel in enumerate(channels))
        yield Doubt(f"The numbers in the names are in another order than the model's: {wanted}.", True)
    if len({without_channels(match[1], _names(channels)) for match in matches if match}) > 1:
        yield Doubt("The names of the numbered images are those of different cases.", True)


def _cases_differ(channels: Sequence[Channel], images: Sequence[ImageDescription]) -> bool:
    """True if names that are alike but for their channel have different numbers: "p1_T1", "p2_FLAIR"."""
    rests = [without_channels(re.sub(r"\.[A-Za-z.]+$", "", image.name), _names(channels)) for image in images]
    shapes = {re.sub(r"\d+", "#", rest).casefold() for rest in rests}
    if len(shapes) > 1 or len({rest.casefold() for rest in rests}) == 1:
        return False
    words = re.findall(r"[a-z]+", shapes.pop())
    return bool(words) and not any(_OF_A_SERIES.fullmatch(word) for word in words)


def _names(channels: Sequence[Channel]) -> list[str]:
    return [channel.name for channel in channels]
