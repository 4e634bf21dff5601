"""Match images to the channels of a model by names and DICOM attributes; leave doubtful channels empty."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..images.description.image_description import ImageDescription
from ..images.description.image_kind import (
    CT,
    FLAIR,
    PET,
    T1,
    T1_CONTRAST,
    T1_NATIVE,
    T2,
    UNCLEAR,
    UNKNOWN,
    kind_of_text,
)
from ..model.description import Channel

_MODALITIES = {CT: "CT", PET: "PT", T1: "MR", T1_NATIVE: "MR", T1_CONTRAST: "MR", T2: "MR", FLAIR: "MR"}


def match_descriptions(
    channels: Sequence[Channel],
    chosen: Sequence[int | None],
    images: Sequence[ImageDescription],
    taken: Iterable[int] = (),
) -> list[int | None]:
    """An image, by its index, for each channel that has none; no image is used twice.

    The only channel of a model gets the first image that fits, or else the first of an unknown kind. Several
    channels get images of one study: each the image of its kind, if the study has exactly one; images without
    a study count for every study. If two studies serve equally well, neither is used, unless an image of one
    is chosen already.

    Args:
        taken: channels to leave alone though `chosen` is None.
    """
    free = [index for index in range(len(images)) if index not in chosen]
    empty = [index for index, image in enumerate(chosen) if image is None and index not in set(taken)]
    if not empty:
        return list(chosen)
    if len(channels) == 1:
        return [_first_fit(channels[0], free, images)]
    kinds = kinds_of(images)
    decided = {images[index].study for index in chosen if index is not None} - {""}
    studies = decided or {images[index].study for index in free if images[index].study} or {""}
    fillings = []
    for study in sorted(studies) if len(decided) < 2 else []:
        members = [index for index in free if images[index].study in (study, "")]
        found = {c: _only_fit(channels[c], members, images, kinds) for c in empty}
        fillings.append({c: index for c, index in found.items() if index is not None})
    return [image if index not in empty else _best(fillings).get(index) for index, image in enumerate(chosen)]


def fits(channel: Channel, image: ImageDescription) -> bool:
    """True if nothing known about an image speaks against it as this channel."""
    fit = _fit(channel, image, image.kind)
    return fit.certain or fit.possible


def is_clearly(channel: Channel, image: ImageDescription, kind: str) -> bool:
    """True if an image of this kind (`kinds_of`) is certainly right for a channel."""
    return _fit(channel, image, kind).certain


def modality_of(kind: str) -> str:
    """DICOM's code for the modality of a kind of image, or ""."""
    return _MODALITIES.get(kind, "")


@dataclass(frozen=True)
class _Fit:
    """certain: the image is of the channel's kind. possible: the kind of the image is unknown."""

    certain: bool
    possible: bool


def _fit(channel: Channel, image: ImageDescription, kind: str) -> _Fit:
    modality = image.modality or _MODALITIES.get(kind, "")
    if modality and modality != channel.modality:
        return _Fit(False, False)
    wanted = kind_of_text(channel.name)
    if wanted in (UNKNOWN, UNCLEAR) or wanted not in _MODALITIES:
        named = _is_named(image.name, channel.name)
        return _Fit(named, not named)
    accepted = (T1, T1_NATIVE) if wanted in (T1, T1_NATIVE) else (wanted,)
    return _Fit(kind in accepted, kind == UNKNOWN)


def _first_fit(channel: Channel, free: Sequence[int], images: Sequence[ImageDescription]) -> int | None:
    fit = {index: _fit(channel, images[index], images[index].kind) for index in free}
    certain = (index for index in free if fit[index].certain)
    possible = (index for index in free if fit[index].possible)
    return next(certain, next(possible, None))


def _only_fit(
    channel: Channel, members: Sequence[int], images: Sequence[ImageDescription], kinds: Sequence[str]
) -> int | None:
    fitting = [index for index in members if _fit(channel, images[index], kinds[index]).certain]
    return fitting[0] if len(fitting) == 1 else None


def _best(fillings: Sequence[dict[int, int]]) -> dict[int, int]:
    """The fullest of these; none if several different ones are equally full."""
    most = max((len(filling) for filling in fillings), default=0)
    best = [filling for filling in fillings if len(filling) == most]
    return best[0] if best and all(filling == best[0] for filling in best) else {}


def kinds_of(images: Sequence[ImageDescription]) -> list[str]:
    """The kind of each image, judged beside the others of its study.

    A hint at contrast agent in the header tells two T1 of one study apart if only one of them has it.
    """
    kinds = [image.kind for image in images]
    for study in {image.study for image in images if image.study}:
        plain = [n for n, image in enumerate(images) if image.study == study and image.plain_t1]
        hinted = [n for n in plain if images[n].contrast_hinted]
        if len(plain) == 2 and len(hinted) == 1:
            kinds[hinted[0]] = T1_CONTRAST
    return kinds


def _is_named(name: str, channel: str) -> bool:
    """True if a channel's name is a word of a node's name."""
    word = rf"(?<![a-z0-9]){re.escape(channel.casefold())}w?(?![a-z0-9])"
    return re.search(word, name.casefold()) is not None
