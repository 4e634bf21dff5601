"""Which image is which channel, judged by what images are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# How scanners and data sets call what a model may call otherwise; all in lower case.
_CONTRAST = ("t1ce", "t1c", "t1gd", "t1 gd", "t1 ce", "t1 c", "t1 post", "t1 km", "t1 contrast")
SYNONYMS: tuple[tuple[str, ...], ...] = (
    _CONTRAST,
    ("t1", "t1w", "t1n", "mprage", "mp rage", "spgr", "bravo"),
    ("t2", "t2w"),
    ("flair", "t2 flair", "t2f", "t2flair", "tirm dark fluid"),
)


@dataclass(frozen=True)
class ChannelGroup:
    """Images of one patient.

    Attributes:
        name: what their names have in common; "" where that is nothing.
        members: for each channel the index of its image; empty where there is a problem.
        problem: why they cannot be used together, or "".
    """

    name: str
    members: tuple[int, ...]
    problem: str = ""


def channel_in(name: str, channels: Sequence[str]) -> int | None:
    """The index of the channel that a name speaks of; None where it speaks of none, or of two alike.

    The longest match counts: "T2 FLAIR" is FLAIR, not T2, and "t1ce" is not T1.
    """
    lengths = [_longest(name, channel) for channel in channels]
    longest = max(lengths, default=0)
    return lengths.index(longest) if longest and lengths.count(longest) == 1 else None


def another_channel_in(name: str, channel: str) -> str | None:
    """The other MR sequence that a name speaks of, where the model's only channel is an MR sequence."""
    own = next((words for words in SYNONYMS if channel.lower() in words), None)
    if own is None:
        return None
    known = [words[0] for words in SYNONYMS]
    found = channel_in(name, known)
    return None if found is None or SYNONYMS[found] is own else known[found].upper()


def group_by_channels(names: Sequence[str], channels: Sequence[str]) -> tuple[list[ChannelGroup], list[int]]:
    """Sort images into groups with one image for each channel; and the images that no channel claims.

    Images belong together when their names differ in the channel only ("p1_T1", "p1_FLAIR"). Where that does
    not come out even, all of them are one group if each channel has exactly one image.
    """
    channel_of = {index: channel_in(name, channels) for index, name in enumerate(names)}
    unclaimed = [index for index, channel in channel_of.items() if channel is None]
    claimed = [index for index, channel in channel_of.items() if channel is not None]
    keys: dict[str, list[int]] = {}
    for index in claimed:
        keys.setdefault(_without_channel(names[index], channels[channel_of[index] or 0]), []).append(index)
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


def _without_channel(name: str, channel: str) -> str:
    """What is left of a name, in a form that is the same for all channels of a patient."""
    for form in _forms(channel):
        name = re.sub(form, " ", name, flags=re.IGNORECASE | re.ASCII)
    return "_".join(part for part in re.split(r"[\s_.\-]+", name) if part)


def _longest(name: str, channel: str) -> int:
    """How long the longest word for a channel is that stands in a name as a word of its own; 0 for none."""
    matches = (re.search(form, name, re.IGNORECASE | re.ASCII) for form in _forms(channel))
    return max((match.end() - match.start() for match in matches if match), default=0)


def _forms(channel: str) -> list[str]:
    """The patterns of a channel's name and of other words for it, the longest first."""
    own = channel.lower()
    words = {own, *next((words for words in SYNONYMS if own in words), ())}
    between = r"[\s_.+\-]*"
    return [
        rf"(?<![a-z0-9]){between.join(re.escape(part) for part in word.split())}w?(?![a-z0-9])"
        for word in sorted(words, key=lambda word: (-len(word), word))
    ]
