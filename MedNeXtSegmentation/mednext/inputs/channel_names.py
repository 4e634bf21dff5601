"""Recognise the channel of an image by its name, and group the images of one patient."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..images.description.image_kind import (
    CT,
    FLAIR,
    OTHER,
    PD,
    PET,
    T1,
    T1_CONTRAST,
    T1_NATIVE,
    T2,
    UNCLEAR,
    UNKNOWN,
    kind_of_text,
    mentions_contrast,
)

_MR = {T1, T1_NATIVE, T1_CONTRAST, T2, FLAIR, PD}
_KINDS = _MR | {CT, PET}


@dataclass(frozen=True)
class ChannelGroup:
    """Images of one patient.

    Attributes:
        name: the common part of their names, or "".
        members: for each channel the index of its image; empty where there is a problem.
        problem: why they cannot be used together, or "".
    """

    name: str
    members: tuple[int, ...]
    problem: str = ""


def channel_in(name: str, channels: Sequence[str]) -> int | None:
    """The index of the channel that a name means; None if it means none, or several.

    "T2 FLAIR" is FLAIR, not T2, and "t1ce" is not T1: see `image_kind`.
    """
    spoken_of = [index for index, channel in enumerate(channels) if _speaks_of(name, channel)]
    return spoken_of[0] if len(spoken_of) == 1 else None


def why_another(name: str, channel: str) -> str:
    """Why a name means another image than a model's only channel, a sequence of MR; or ""."""
    kind = kind_of_text(name)
    if kind_of_text(channel) not in _MR or kind == UNKNOWN or _speaks_of(name, channel):
        return ""
    says = {
        UNCLEAR: "may mean more than one kind of image",
        OTHER: "says that it is a mask, a map or another derived image",
    }.get(kind, f"says {kind}")
    return f"Its name {says}, and the model takes {channel}."


def group_by_channels(names: Sequence[str], channels: Sequence[str]) -> tuple[list[ChannelGroup], list[int]]:
    """Sort images into groups with one image for each channel; return the images of no channel, too.

    Images belong together if their names differ in the channel only ("p1_T1", "p1_FLAIR"). If such groups are
    incomplete, all images are one group, provided that each channel has exactly one.
    """
    channel_of = {index: channel_in(name, channels) for index, name in enumerate(names)}
    unclaimed = [index for index, channel in channel_of.items() if channel is None]
    claimed = [index for index, channel in channel_of.items() if channel is not None]
    keys: dict[str, list[int]] = {}
    for index in claimed:
        keys.setdefault(without_channels(names[index], channels), []).append(index)
    groups = [_group(key, members, channel_of, names, channels) for key, members in keys.items()]
    if any(group.problem for group in groups):
        together = _group("", claimed, channel_of, names, channels)
        if not together.problem or not any(group.members for group in groups):
            return [together], unclaimed
    return groups, unclaimed


def _group(
    name: str,
    members: Sequence[int],
    channel_of: dict[int, int | None],
    names: Sequence[str],
    channels: Sequence[str],
) -> ChannelGroup:
    by_channel = [[index for index in members if channel_of[index] == n] for n in range(len(channels))]
    missing = [channel for channel, images in zip(channels, by_channel, strict=True) if not images]
    twice = [
        f"{channel} may be {' or '.join(names[index] for index in images)}"
        for channel, images in zip(channels, by_channel, strict=True)
        if len(images) > 1
    ]
    given = ", ".join(names[index] for index in members)
    if twice:
        return ChannelGroup(name, (), f"It is not clear which image is which channel: {'; '.join(twice)}.")
    if missing:
        return ChannelGroup(name, (), f"There is no image for {', '.join(missing)} beside {given}.")
    return ChannelGroup(name, tuple(images[0] for images in by_channel))


def _speaks_of(name: str, channel: str) -> bool:
    """True if a name means a channel: it tells the same kind, or has the channel's name as a word."""
    wanted = kind_of_text(channel)
    if wanted in (T1, T1_NATIVE):
        return kind_of_text(name) in (T1, T1_NATIVE)
    if wanted in _KINDS:
        return kind_of_text(name) == wanted
    return re.search(_word(channel), name, re.IGNORECASE) is not None


def without_channels(name: str, channels: Sequence[str]) -> str:
    """A name without its channel, in a form that is the same for all channels of a patient."""
    for channel in channels:
        if kind_of_text(channel) not in _KINDS:
            name = re.sub(_word(channel), "", name, flags=re.IGNORECASE)
    if any(kind_of_text(channel) in _KINDS for channel in channels):
        name = re.sub(r"[^\W_]+", lambda word: "" if _of_a_kind(word[0]) else word[0], name)
    return re.sub(r"[\W_]{2,}", "_", name).strip(" _.-")


def _of_a_kind(word: str) -> bool:
    return kind_of_text(word) in _KINDS or mentions_contrast(word)


def _word(channel: str) -> str:
    return rf"(?<![^\W_]){re.escape(channel)}(?![^\W_])"
