"""Find the label of a combination of regions; read the regions of the first versions' descriptions.

A network of overlapping regions decides for each region separately whether a voxel belongs to it. nnU-Net
then paints one label per region over those of the regions before. This is wrong for two regions that share a
label without one containing the other: the second region's label would cover the shared one. So a voxel gets
the label that lies in exactly its regions, if there is one, and the painted label otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from .labels import Label, Region

# Words in names of single tissues; in older descriptions, any other name of a label was that of its region.
_OF_ONE_TISSUE = ("edema", "oedema", "necrosis", "necrotic", "nonenhancing", "non-enhancing", "cyst")
_OF_SEVERAL = {"whole", "complete", "entire", "total", "all", "with", "and", "plus", "including", "incl"}

Channels = frozenset[int]


def labels_of_channels(regions: Sequence[Region], order: Sequence[int]) -> dict[Channels, int]:
    """The label of each combination of output channels in whose regions, and no others, a label lies.

    `regions` are those of the channels, `order` has the label that nnU-Net paints for each. Of several labels
    in the same regions, which the network cannot distinguish, a painted one is taken.
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
    """Those of `labels_of_channels` that differ from the painted label, later ones over earlier ones."""
    found = labels_of_channels(regions, order)
    return {channels: value for channels, value in found.items() if order[max(channels)] != value}


def painted_values(regions: Sequence[Region], order: Sequence[int]) -> list[int]:
    """The label values that a result may have."""
    return sorted({*order, *labels_of_channels(regions, order).values()})


def with_painted(regions: Sequence[Region], order: Sequence[int]) -> tuple[Region, ...]:
    """Add each painted value that is in no region to its own region and to the regions that contain this."""
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
    """A name for each label value by the regions it lies in, such as "tumor without core"."""
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
    """Read labels and regions of the first versions, where each label has the labels of its output channel.

    Their one name was that of the region or, if written by hand, that of the label. Here both get a name.
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
