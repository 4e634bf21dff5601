"""Regions: which label a combination of them is, and how the first versions described them.

A network of overlapping regions answers for each region on its own whether a voxel belongs to it. nnU-Net
paints one label for each region over those of the regions before. Where a label lies in just the regions that
were found in a voxel, it is that label, which nnU-Net's painting does not always give: of two regions that
share a label, none inside of the other, the second would take what belongs to both.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from .labels import Label, Region

# Words in the names of single tissues; other names of labels with a region were those of the region.
_OF_ONE_TISSUE = ("edema", "oedema", "necrosis", "necrotic", "nonenhancing", "non-enhancing", "cyst")
_OF_SEVERAL = {"whole", "complete", "entire", "total", "all", "with", "and", "plus", "including", "incl"}

Channels = frozenset[int]


def labels_of_channels(regions: Sequence[Region], order: Sequence[int]) -> dict[Channels, int]:
    """The label of each combination of output channels that is the one of some label.

    `regions` are those of the channels, `order` has the label that nnU-Net paints for each. Of several labels
    in the same regions, which the network cannot tell apart, one that is painted is taken.
    """
    values = sorted({value for region in regions for value in region.labels})
    found: dict[Channels, list[int]] = {}
    for value in values:
        found.setdefault(_channels_of(value, regions), []).append(value)
    return {
        channels: min(same, key=lambda value: (value != order[max(channels)], value not in order, value))
        for channels, same in found.items()
    }


def beyond_painting(regions: Sequence[Region], order: Sequence[int]) -> dict[Channels, int]:
    """Those of `labels_of_channels` that painting in order, later ones over earlier ones, does not give."""
    found = labels_of_channels(regions, order)
    return {channels: value for channels, value in found.items() if order[max(channels)] != value}


def painted_values(regions: Sequence[Region], order: Sequence[int]) -> list[int]:
    """The label values that can be found in a result."""
    return sorted({*order, *labels_of_channels(regions, order).values()})


def with_painted(regions: Sequence[Region], order: Sequence[int]) -> tuple[Region, ...]:
    """The regions with a painted value that is in none of them added to its own and to those around it."""
    known = {value for region in regions for value in region.labels}
    added = {
        value: set(region.labels) for value, region in zip(order, regions, strict=True) if value not in known
    }
    return tuple(
        replace(
            region,
            labels=(*region.labels, *(value for value, own in added.items() if own <= set(region.labels))),
        )
        for region in regions
    )


def derived_names(regions: Sequence[Region], values: Sequence[int]) -> dict[int, str]:
    """For each label value a name that only says in which regions it lies, such as "tumor without core"."""
    names: dict[int, str] = {}
    for value in values:
        inside = [region for region in regions if value in region.labels]
        smallest = [each for each in inside if not any(set(o.labels) < set(each.labels) for o in inside)]
        others = [
            other
            for other in regions
            if value not in other.labels and all(set(other.labels) & set(each.labels) for each in smallest)
        ]
        largest = [each for each in others if not any(set(o.labels) > set(each.labels) for o in others)]
        name = " and ".join(region.name for region in smallest)
        if len(smallest) > 1:
            name = f"both {name}"
        if largest:
            name += " without " + " and ".join(region.name for region in largest)
        names[value] = name if name not in names.values() else f"{name} (label {value})"
    return names


def from_labels(
    labels: Sequence[Label], order: Sequence[int]
) -> tuple[tuple[Label, ...], tuple[Region, ...]]:
    """Labels and regions as the first versions described them: each label with the labels of its channel.

    The one name was that of the region, or, where somebody wrote it by hand, that of the label. Both get
    names that say which of the two they are.
    """
    by_value = {label.value: label for label in labels}
    own = {label.value: label.name for label in labels if _names_one_label(label)}
    regions = with_painted(
        [Region(_region_name(by_value[v], own), by_value[v].region, by_value[v].color) for v in order], order
    )
    regions = tuple(
        replace(region, terminology=by_value[value].terminology)
        if value not in own or region.labels == (value,)
        else region
        for value, region in zip(order, regions, strict=True)
    )
    values = painted_values(regions, order)
    names = {**derived_names(regions, values), **own}
    return tuple(_described(value, names[value], by_value, own) for value in values), regions


def _channels_of(value: int, regions: Sequence[Region]) -> Channels:
    return frozenset(channel for channel, region in enumerate(regions) if value in region.labels)


def _names_one_label(label: Label) -> bool:
    if set(label.region) == {label.value}:
        return True
    name = label.name.casefold()
    several = _OF_SEVERAL & set(re.findall("[a-z]+", name)) or set("+&/") & set(name)
    return not several and any(word in name for word in _OF_ONE_TISSUE)


def _region_name(label: Label, own: Mapping[int, str]) -> str:
    if label.value not in own or set(label.region) == {label.value}:
        return label.name
    others = [own.get(value, f"label {value}") for value in label.region if value != label.value]
    return " + ".join([label.name, *others])


def _described(value: int, name: str, by_value: Mapping[int, Label], own: Collection[int]) -> Label:
    before = by_value.get(value)
    if before is None:
        return Label(value, name, (128, 128, 128))
    return Label(value, name, before.color, before.terminology if value in own else None)
